//! SQL over topics.

use thalweg_integration::kafka::Kafka;

use crate::{
    expect::{failure, text},
    place::{Exchange, Place},
};

const PLACES: [Place; 2] = [Place::Embedded(2), Place::Cluster(2, Exchange::Pipelined)];

fn with(topic: &str, more: &str) -> String {
    let bootstrap = &Kafka::shared().bootstrap;
    format!(
        "WITH ('connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}', 'format' = 'json',
           'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset' {more})"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_go_into_a_topic_and_come_out_of_it() {
    let topics = Kafka::shared().topics().await.unwrap();
    for (number, place) in PLACES.into_iter().enumerate() {
        let topic = format!("sql{number}");
        topics.create(&topic, 3).await.unwrap();
        let mut client = place.client().await;
        let exactly_once = format!(
            ", 'sink.delivery-guarantee' = 'exactly-once', 'sink.transactional-id-prefix' = '{topic}', 'key.format' = 'raw',
             'key.fields' = 'k'"
        );
        let script = format!(
            "CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '10000',
               'fields.n.kind' = 'sequence', 'fields.n.start' = '1', 'fields.n.end' = '10000');
             CREATE TABLE t (n BIGINT, k STRING, at TIMESTAMP(3), price DECIMAL(10, 2)) {};
             INSERT INTO t SELECT n, CAST(n % 7 AS STRING), TIMESTAMP '2026-01-01 00:00:00', CAST(n / 4.0 AS DECIMAL(10, 2)) FROM numbers",
            with(&topic, &exactly_once)
        );
        client.sql(&script).await.unwrap();
        let rows = client
            .sql("SELECT count(*), sum(n), min(at), max(price), count(DISTINCT k) FROM t")
            .await
            .unwrap();
        assert_eq!(text(&rows), "10000,50005000,2026-01-01T00:00:00,2500.00,7", "{place}");
        // Each key in one partition, and nothing left open.
        let sql = format!(
            "CREATE TABLE parts (k STRING, p INT METADATA FROM 'partition' VIRTUAL, o BIGINT METADATA FROM 'offset' VIRTUAL) {};
             SELECT count(*) FROM (SELECT k FROM parts GROUP BY k HAVING count(DISTINCT p) > 1) x",
            with(&topic, "")
        );
        assert_eq!(text(&client.sql(&sql).await.unwrap()), "0", "{place}");
        assert_eq!(topics.open_transactions(&topic).await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_said() {
    let topics = Kafka::shared().topics().await.unwrap();
    topics.create("said", 1).await.unwrap();
    topics.write("said", &[(0, None, Some("{\"n\":1}")), (0, None, Some("{\"n\":}"))]).await.unwrap();
    let mut client = Place::Embedded(2).client().await;
    let endless = with("said", "")
        .replace("'scan.bounded.mode' = 'latest-offset'", "'scan.bounded.mode' = 'unbounded'");
    client.sql("SET 'execution.runtime-mode' = 'BATCH'").await.unwrap();
    let error =
        failure(&mut client, &format!("CREATE TABLE endless (n INT) {endless}; SELECT * FROM endless")).await;
    assert!(error.contains("endless` does not end") && error.contains("`STREAMING`"), "{error}");
    let error =
        failure(&mut client, &format!("CREATE TABLE bad (n INT) {}; SELECT * FROM bad", with("said", "")))
            .await;
    assert!(error.contains("topic `said`, partition 0, offset 1"), "{error}");
    let changes = with("said", "").replace("'json'", "'debezium-json'");
    let error =
        failure(&mut client, &format!("CREATE TABLE changes (n INT) {changes}; SELECT * FROM changes")).await;
    assert!(error.contains("changelog"), "{error}");
    let error = failure(
        &mut client,
        &format!("CREATE TABLE typo (n INT) {}", with("said", ", 'scan.startup.mod' = 'x'")),
    )
    .await;
    assert!(error.contains("did you mean `scan.startup.mode`"), "{error}");
}

/// A topic of rows by key: 1 is replaced twice, 2 ends, 3 ends and comes again.
async fn upserted(topic: &str) -> String {
    let topics = Kafka::shared().topics().await.unwrap();
    topics.create(topic, 2).await.unwrap();
    let at = |key: u32, second: u32, rate: u32| {
        format!("{{\"id\":{key},\"rate\":{rate},\"since\":\"2026-01-01 00:00:0{second}\"}}")
    };
    let keys: Vec<String> = (0..4).map(|key| format!("{{\"id\":{key}}}")).collect();
    let values = [at(1, 1, 10), at(2, 1, 20), at(3, 1, 30), at(1, 3, 11), at(3, 4, 31), at(1, 5, 12)];
    let record = |key: usize, value: Option<usize>| {
        ((key % 2) as i32, Some(keys[key].as_str()), value.map(|value| values[value].as_str()))
    };
    let records = [
        (1, Some(0)),
        (2, Some(1)),
        (3, Some(2)),
        (1, Some(3)),
        (3, None),
        (2, None),
        (3, Some(4)),
        (1, Some(5)),
    ];
    let records = records.map(|(key, value)| record(key, value));
    topics.write(topic, &records).await.unwrap();
    let bootstrap = &Kafka::shared().bootstrap;
    format!(
        "SET 'execution.runtime-mode' = 'STREAMING';
         CREATE TABLE rates (id INT, rate INT NOT NULL, since TIMESTAMP(3), twice AS rate * 2, PRIMARY KEY (id) NOT ENFORCED,
           WATERMARK FOR since AS since)
         WITH ('connector' = 'upsert-kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}',
           'key.format' = 'json', 'value.format' = 'json', 'scan.bounded.mode' = 'latest-offset')"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_topic_replace_those_with_their_key() {
    for (number, place) in PLACES.into_iter().enumerate() {
        let mut client = place.client().await;
        client.sql(&upserted(&format!("sql_upserts{number}")).await).await.unwrap();
        let rows = client.sql("SELECT id, rate, twice FROM rates ORDER BY id").await.unwrap();
        assert_eq!(text(&rows), "1,12,24\n3,31,62", "{place}");
        // Neither the key nor what is filtered by is selected.
        let rows = client.sql("SELECT COUNT(*), SUM(twice) FROM rates WHERE rate < 20").await.unwrap();
        assert_eq!(text(&rows), "1,24", "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_upserts_has_versions() {
    let topics = Kafka::shared().topics().await.unwrap();
    topics.create("sql_asked", 1).await.unwrap();
    let asked = [(1, 2), (1, 4), (1, 9), (2, 2), (3, 2), (3, 5)];
    let asked = asked.map(|(id, second)| format!("{{\"a\":{id},\"at\":\"2026-01-01 00:00:0{second}\"}}"));
    let asked: Vec<_> = asked.iter().map(|value| (0, None, Some(value.as_str()))).collect();
    topics.write("sql_asked", &asked).await.unwrap();
    let mut client = Place::Embedded(2).client().await;
    client.sql(&upserted("sql_versions").await).await.unwrap();
    let sql = format!(
        "CREATE TABLE asked (a INT, at TIMESTAMP(3), WATERMARK FOR at AS at) {};
         SELECT a, at, rate FROM asked AS o LEFT JOIN rates FOR SYSTEM_TIME AS OF o.at AS r ON o.a = r.id ORDER BY a, at",
        with("sql_asked", "")
    );
    let rows = text(&client.sql(&sql).await.unwrap());
    let rows: Vec<&str> = rows.lines().collect();
    let at = |id: u32, second: u32, rate: &str| format!("{id},2026-01-01T00:00:0{second},{rate}");
    // Of a key that ended and came again the old row is valid until the new one begins.
    let expected =
        [at(1, 2, "10"), at(1, 4, "11"), at(1, 9, "12"), at(2, 2, "NULL"), at(3, 2, "30"), at(3, 5, "31")];
    assert_eq!(rows, expected);
}
