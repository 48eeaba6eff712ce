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
