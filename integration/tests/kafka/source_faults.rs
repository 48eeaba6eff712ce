//! What goes wrong while topics are read.

use thalweg_graph::FailureKind;
use thalweg_integration::kafka::{Kafka, Topics};

use super::table::{ALONE, Table, next, take};

async fn topic(kafka: &Kafka, name: &str, values: &[&str]) -> Topics {
    let topics = kafka.topics().await.unwrap();
    topics.create(name, 1).await.unwrap();
    let records: Vec<_> = values.iter().map(|value| (0, None, Some(*value))).collect();
    topics.write(name, &records).await.unwrap();
    topics
}

fn table(kafka: &Kafka, topic: &str, options: &[(&str, &str)]) -> Table {
    Table::new(&kafka.bootstrap, topic, &["n INT"], options)
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named_with_the_nearest() {
    let kafka = Kafka::shared();
    topic(kafka, "invoices", &[]).await;
    let error = table(kafka, "invoises", &[]).reader(ALONE, None).await.err().unwrap();
    assert_eq!(error.kind(), FailureKind::Deterministic);
    assert!(error.to_string().contains("`invoises` does not exist"), "{error}");
    assert!(error.to_string().contains("did you mean `invoices`?"), "{error}");
}

#[tokio::test]
async fn brokers_that_do_not_answer_are_waited_for_and_no_longer() {
    let table = Table::new("127.0.0.1:1", "t", &["n INT"], &[("properties.default.api.timeout.ms", "700")]);
    let error = table.reader(ALONE, None).await.err().unwrap();
    assert_eq!(error.kind(), FailureKind::Unreachable);
    assert!(error.to_string().contains("cannot reach Kafka at `127.0.0.1:1`"), "{error}");
}

#[tokio::test]
async fn offsets_out_of_range_are_an_error_or_reset() {
    let kafka = Kafka::shared();
    topic(kafka, "short", &["{\"n\":1}", "{\"n\":2}"]).await;
    let beyond = [
        ("scan.startup.mode", "specific-offsets"),
        ("scan.startup.specific-offsets", "partition:0,offset:100"),
    ];
    let error = table(kafka, "short", &beyond).reader(ALONE, None).await.err().unwrap();
    assert_eq!(error.kind(), FailureKind::Deterministic);
    assert!(error.to_string().contains("does not have offset 100"), "{error}");
    let reset = table(kafka, "short", &beyond).with("properties.auto.offset.reset", "earliest");
    let mut reader = reset.reader(ALONE, None).await.unwrap();
    assert_eq!(take(reader.as_mut(), 2).await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn lost_partitions_are_told_while_reading_and_when_restored() {
    let kafka = Kafka::shared();
    let topics = topic(kafka, "lost", &["{\"n\":1}"]).await;
    let table = table(kafka, "lost", &[("scan.topic-partition-discovery.interval", "100 ms")])
        .with("properties.default.api.timeout.ms", "3000");
    let mut reader = table.reader(ALONE, None).await.unwrap();
    take(reader.as_mut(), 1).await.unwrap();
    let positions = reader.positions().unwrap();
    topics.delete("lost").await.unwrap();
    let error = loop {
        match next(reader.as_mut()).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(error.chain().contains("`lost`"), "{}", error.chain());
    topics.create("lost", 1).await.unwrap();
    let mut gone = positions.clone();
    gone[0].position = String::from_utf8(gone[0].position.to_vec())
        .unwrap()
        .replace("\"partition\":0", "\"partition\":4")
        .into();
    let error = table.reader(ALONE, Some(&gone)).await.err().unwrap();
    assert!(error.to_string().contains("partition 4 of topic `lost` was read before and is gone"), "{error}");
}

#[tokio::test]
async fn a_broker_that_comes_back_is_read_on_and_one_that_does_not_ends_the_task() {
    let kafka = Kafka::start(&[]).unwrap();
    let topics = topic(&kafka, "down", &["{\"n\":1}"]).await;
    let table = table(&kafka, "down", &[]);
    let mut reader = table.reader(ALONE, None).await.unwrap();
    let impatient = table.with("properties.default.api.timeout.ms", "2000");
    let mut impatient =
        impatient.with("properties.request.timeout.ms", "1000").reader(ALONE, None).await.unwrap();
    assert_eq!(take(reader.as_mut(), 1).await.unwrap(), ["1"]);
    assert_eq!(take(impatient.as_mut(), 1).await.unwrap(), ["1"]);
    kafka.kill().unwrap();
    let error = next(impatient.as_mut()).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Io, "{}", error.chain());
    let waiting = tokio::spawn(async move { take(reader.as_mut(), 1).await.unwrap() });
    kafka.restart().unwrap();
    topics.write("down", &[(0, None, Some("{\"n\":2}"))]).await.unwrap();
    assert_eq!(waiting.await.unwrap(), ["2"]);
}
