//! Reading topics: where it begins and ends, who reads what, and what a checkpoint goes on with.

use std::collections::BTreeSet;

use thalweg_connectors::source::{Share, SourceEvent, SplitPosition};
use thalweg_integration::kafka::{Kafka, Topics};

use super::table::{ALONE, Table, drain, next, rows, take};

const TO_NOW: (&str, &str) = ("scan.bounded.mode", "latest-offset");

/// Makes a topic with `{"n": 0}`, `{"n": 1}`, ... dealt to its partitions in turn.
async fn numbers(topic: &str, partitions: i32, count: i32) -> Topics {
    let topics = Kafka::shared().topics().await.unwrap();
    topics.create(topic, partitions).await.unwrap();
    write_numbers(&topics, topic, partitions, 0..count).await;
    topics
}

async fn write_numbers(topics: &Topics, topic: &str, partitions: i32, numbers: std::ops::Range<i32>) {
    let values: Vec<String> = numbers.clone().map(|n| format!("{{\"n\":{n}}}")).collect();
    let records: Vec<_> =
        numbers.zip(&values).map(|(n, value)| (n % partitions, None, Some(value.as_str()))).collect();
    topics.write(topic, &records).await.unwrap();
}

fn table(topic: &str, options: &[(&str, &str)]) -> Table {
    Table::new(&Kafka::shared().bootstrap, topic, &["n INT"], options)
}

fn texts(numbers: impl IntoIterator<Item = i32>) -> Vec<String> {
    let mut texts: Vec<String> = numbers.into_iter().map(|n| n.to_string()).collect();
    texts.sort();
    texts
}

#[tokio::test]
async fn each_subtask_reads_its_partitions_in_order_and_to_their_end() {
    numbers("shares", 4, 1000).await;
    let table = table("shares", &[TO_NOW]);
    for parallelism in [1, 3, 5] {
        let mut all = Vec::new();
        let mut names = BTreeSet::new();
        for subtask in 0..parallelism {
            let mut reader = table.reader(Share { subtask, parallelism }, None).await.unwrap();
            let (mut begun, mut ended, mut last) = (0, 0, Vec::new());
            while let Some(event) = next(reader.as_mut()).await.unwrap() {
                match event {
                    SourceEvent::Begin { split, name } => {
                        assert_eq!(split, begun);
                        begun += 1;
                        last.push(-1);
                        assert!(names.insert(name));
                    }
                    SourceEvent::Rows { split, batch } => {
                        for row in rows(&batch) {
                            let n: i32 = row.parse().unwrap();
                            assert!(n > last[split as usize], "out of order");
                            last[split as usize] = n;
                            all.push(row);
                        }
                    }
                    SourceEvent::Idle { .. } => {}
                    SourceEvent::End { .. } => ended += 1,
                }
            }
            assert_eq!(begun, ended);
            assert_eq!(reader.positions().unwrap().len(), begun as usize);
        }
        assert_eq!(names, (0..4).map(|partition| format!("shares-{partition}")).collect());
        all.sort();
        assert_eq!(all, texts(0..1000), "parallelism {parallelism}");
    }
}

#[tokio::test]
async fn a_restored_job_goes_on_where_it_was_at_any_parallelism() {
    let topics = numbers("restore", 3, 300).await;
    let table = table("restore", &[]);
    let mut first = table.reader(ALONE, None).await.unwrap();
    let mut seen = take(first.as_mut(), 150).await.unwrap();
    let positions = first.positions().unwrap();
    assert_eq!(positions.len(), 3);
    drop(first);
    write_numbers(&topics, "restore", 3, 300..400).await;
    let table = table.with(TO_NOW.0, TO_NOW.1);
    // In a checkpoint of a stream nothing says where it ends: it is asked for when the table that ends is opened anew.
    let unrestored = table.rows().await.unwrap();
    assert_eq!(unrestored, texts(0..400));
    for subtask in 0..2 {
        let mut reader = self::table("restore", &[])
            .reader(Share { subtask, parallelism: 2 }, Some(&positions))
            .await
            .unwrap();
        let own = reader.positions().unwrap().len();
        let expected = expected_after(&positions, &reader.positions().unwrap(), 400);
        assert!(own < 3);
        seen.extend(take(reader.as_mut(), expected).await.unwrap());
    }
    seen.sort();
    assert_eq!(seen, texts(0..400));
}

/// Rows that are left in some of the partitions, of `count` rows in three.
fn expected_after(all: &[SplitPosition], own: &[SplitPosition], count: i64) -> usize {
    let left = |position: &SplitPosition| {
        let at: serde_json::Value = serde_json::from_slice(&position.position).unwrap();
        let partition = at["partition"].as_i64().unwrap();
        (count - partition + 2) / 3 - at["next"].as_i64().unwrap()
    };
    let own: Vec<&str> = own.iter().map(|position| position.split.as_str()).collect();
    all.iter().filter(|position| own.contains(&position.split.as_str())).map(left).sum::<i64>() as usize
}

#[tokio::test]
async fn a_table_that_ends_does_so_where_it_was_to_end_when_it_was_opened() {
    let topics = numbers("ends", 1, 10).await;
    let table = table("ends", &[TO_NOW]);
    let mut reader = table.reader(ALONE, None).await.unwrap();
    write_numbers(&topics, "ends", 1, 10..20).await;
    let positions = reader.positions().unwrap();
    assert_eq!(drain(reader.as_mut()).await.unwrap().len(), 10);
    let mut restored = table.reader(ALONE, Some(&positions)).await.unwrap();
    assert_eq!(drain(restored.as_mut()).await.unwrap().len(), 10);
    let done = reader.positions().unwrap();
    let mut restored = table.reader(ALONE, Some(&done)).await.unwrap();
    assert_eq!(drain(restored.as_mut()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn reading_begins_where_it_is_told() {
    let topics = numbers("startup", 2, 20).await;
    let bounded = |options: &[(&'static str, &'static str)]| table("startup", &[options, &[TO_NOW]].concat());
    let specific = bounded(&[
        ("scan.startup.mode", "specific-offsets"),
        ("scan.startup.specific-offsets", "partition:0,offset:8;partition:1,offset:9"),
    ]);
    assert_eq!(specific.rows().await.unwrap(), ["16", "18", "19"]);
    // A partition that is not listed is read from its beginning.
    let specific = specific.with("scan.startup.specific-offsets", "partition:0,offset:10");
    assert_eq!(specific.rows().await.unwrap(), texts((0..20).filter(|n| n % 2 == 1)));
    let time = topics.read("startup", 20).await.unwrap().iter().map(|record| record.timestamp).max().unwrap();
    let later = (time + 1).to_string();
    let timed = bounded(&[("scan.startup.mode", "timestamp")]);
    assert_eq!(timed.clone().with("scan.startup.timestamp-millis", "0").rows().await.unwrap().len(), 20);
    assert_eq!(timed.with("scan.startup.timestamp-millis", &later).rows().await.unwrap().len(), 0);
    let mut latest =
        table("startup", &[("scan.startup.mode", "latest-offset")]).reader(ALONE, None).await.unwrap();
    write_numbers(&topics, "startup", 2, 20..22).await;
    let mut new = take(latest.as_mut(), 2).await.unwrap();
    new.sort();
    assert_eq!(new, ["20", "21"]);
    let stop = bounded(&[]).with("scan.bounded.mode", "specific-offsets");
    let stop = stop.with("scan.bounded.specific-offsets", "partition:0,offset:1;partition:1,offset:2");
    assert_eq!(stop.rows().await.unwrap(), ["0", "1", "3"]);
}

#[tokio::test]
async fn a_group_is_told_and_asked() {
    let topics = numbers("groups", 2, 10).await;
    let group = [("scan.startup.mode", "group-offsets"), ("properties.group.id", "readers")];
    let table = table("groups", &group);
    let error = table.reader(ALONE, None).await.err().unwrap().to_string();
    assert!(error.contains("has committed no offset") && error.contains("auto.offset.reset"), "{error}");
    let table = table.with("properties.auto.offset.reset", "earliest");
    let mut reader = table.reader(ALONE, None).await.unwrap();
    take(reader.as_mut(), 10).await.unwrap();
    let positions = reader.positions().unwrap();
    reader.checkpoint_completed(&positions).await.unwrap();
    let committed =
        topics.kafka.admin().list_consumer_group_offsets("readers", Default::default()).await.unwrap();
    let mut committed: Vec<_> =
        committed.into_iter().map(|(at, offset)| (at.partition, offset.unwrap().offset)).collect();
    committed.sort();
    assert_eq!(committed, [(0, Some(5)), (1, Some(5))]);
    write_numbers(&topics, "groups", 2, 10..13).await;
    assert_eq!(table.with(TO_NOW.0, TO_NOW.1).rows().await.unwrap(), ["10", "11", "12"]);
}

#[tokio::test]
async fn aborted_rows_are_not_read_and_do_not_keep_a_table_from_ending() {
    let topics = numbers("committed", 1, 2).await;
    for (n, commit) in [(2, true), (3, false), (4, true), (5, false)] {
        let value = format!("{{\"n\":{n}}}");
        let records = [(0, None, Some(value.as_str()))];
        topics.write_in_transaction("committed", "others", &records, commit).await.unwrap();
    }
    let table = table("committed", &[TO_NOW]);
    assert_eq!(table.rows().await.unwrap(), ["0", "1", "2", "4"]);
    let all = table.with("properties.isolation.level", "read_uncommitted");
    assert_eq!(all.rows().await.unwrap(), texts(0..6));
}

#[tokio::test]
async fn new_partitions_are_found_and_read_from_their_beginning() {
    let topics = numbers("grows", 1, 3).await;
    let options =
        [("scan.topic-partition-discovery.interval", "100 ms"), ("scan.startup.mode", "latest-offset")];
    let mut reader = table("grows", &options).reader(ALONE, None).await.unwrap();
    let topics = topics.grow("grows", 2, Kafka::shared()).await.unwrap();
    let mut begun = Vec::new();
    // Written before the reader knows of the partition.
    let record = [(1, None, Some("{\"n\":7}"))];
    topics.write("grows", &record).await.unwrap();
    loop {
        match next(reader.as_mut()).await.unwrap().unwrap() {
            SourceEvent::Begin { split, name } => begun.push((split, name)),
            SourceEvent::Rows { split, batch } => {
                assert_eq!((split, rows(&batch)), (1, vec!["7".to_owned()]));
                break;
            }
            SourceEvent::Idle { .. } => {}
            SourceEvent::End { .. } => panic!("the table does not end"),
        }
    }
    assert_eq!(begun, [(0, "grows-0".to_owned()), (1, "grows-1".to_owned())]);
    assert_eq!(reader.positions().unwrap().len(), 2);
}

#[tokio::test]
async fn a_pattern_names_topics() {
    numbers("pattern.a", 1, 1).await;
    numbers("pattern.b", 1, 2).await;
    numbers("no-pattern.a", 1, 3).await;
    let table = table("unused", &[TO_NOW, ("topic-pattern", "pattern\\.[a-z]")]);
    let mut table = table;
    table.descriptor.options.remove("topic");
    assert_eq!(table.rows().await.unwrap(), ["0", "0", "1"]);
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_loses_nothing() {
    numbers("dropped", 2, 500).await;
    let mut reader = table("dropped", &[TO_NOW]).reader(ALONE, None).await.unwrap();
    let mut all = Vec::new();
    let mut patience = 1;
    loop {
        // Dropped sooner than it can answer, at first.
        match tokio::time::timeout(std::time::Duration::from_micros(patience), reader.next()).await {
            Err(_) => patience = (patience * 2).min(1_000_000),
            Ok(event) => match event.unwrap() {
                Some(SourceEvent::Rows { batch, .. }) => all.extend(rows(&batch)),
                Some(_) => {}
                None => break,
            },
        }
    }
    all.sort();
    assert_eq!(all, texts(0..500));
}

#[tokio::test]
async fn a_login_is_needed_where_the_cluster_asks_for_one() {
    numbers("login", 1, 3).await;
    let jaas = |password: &str| {
        format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"{password}\";"
        )
    };
    let table = Table::new(&Kafka::shared().sasl, "login", &["n INT"], &[TO_NOW])
        .with("properties.security.protocol", "SASL_PLAINTEXT")
        .with("properties.sasl.mechanism", "PLAIN");
    assert_eq!(
        table.clone().with("properties.sasl.jaas.config", &jaas("alice-secret")).rows().await.unwrap().len(),
        3
    );
    let error = table.with("properties.sasl.jaas.config", &jaas("wrong")).rows().await.unwrap_err();
    assert!(error.to_string().contains("properties.sasl"), "{}", error.chain());
}
