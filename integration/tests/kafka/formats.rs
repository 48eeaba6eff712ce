//! What stands in records: keys, metadata, formats, changes, and what is malformed.

use thalweg_integration::kafka::{Kafka, Topics, Written};

use super::table::{ALONE, Table, take};

const TO_NOW: (&str, &str) = ("scan.bounded.mode", "latest-offset");

async fn topic(name: &str, records: &[Written<'_>]) -> Topics {
    let topics = Kafka::shared().topics().await.unwrap();
    topics.create(name, 1).await.unwrap();
    topics.write(name, records).await.unwrap();
    topics
}

fn table(topic: &str, columns: &[&str], options: &[(&str, &str)]) -> Table {
    Table::new(&Kafka::shared().bootstrap, topic, columns, &[&[TO_NOW], options].concat())
}

#[tokio::test]
async fn keys_and_metadata_are_columns() {
    let records =
        [(0, Some("7"), Some("{\"name\":\"a\"}")), (0, None, Some("{\"name\":\"b\"}")), (0, Some("8"), None)];
    topic("columns", &records).await;
    let columns = [
        "id STRING",
        "name STRING",
        "o BIGINT <- offset",
        "p INT <- partition",
        "t STRING <- topic",
        "k STRING <- timestamp-type",
    ];
    let options = [("key.format", "raw"), ("key.fields", "id"), ("value.fields-include", "EXCEPT_KEY")];
    let rows = table("columns", &columns, &options).rows().await.unwrap();
    // A record without a value is no row.
    assert_eq!(rows, [",b,1,0,columns,CreateTime", "7,a,0,0,columns,CreateTime"]);
}

#[tokio::test]
async fn malformed_records_fail_are_skipped_or_put_aside() {
    let records = [
        (0, None, Some("{\"n\":1}")),
        (0, Some("k"), Some("{\"n\":\"x\"}")),
        (0, None, Some("{\"n\":2}")),
        (0, None, Some("nothing")),
    ];
    let topics = topic("malformed", &records).await;
    let table = table("malformed", &["n INT"], &[]);
    let error = table.rows().await.unwrap_err();
    assert_eq!(error.kind(), thalweg_graph::FailureKind::Deterministic);
    let error = error.to_string();
    assert!(
        error.starts_with("topic `malformed`, partition 0, offset 1: not a valid json record:"),
        "{error}"
    );
    let skipping = table.clone().with("scan.malformed-records", "skip");
    assert_eq!(skipping.rows().await.unwrap(), ["1", "2"]);
    assert_eq!(table.clone().with("json.ignore-parse-errors", "true").rows().await.unwrap(), ["1", "2"]);
    topics.create("malformed-letters", 1).await.unwrap();
    let letters = table
        .with("scan.malformed-records", "dead-letter")
        .with("scan.dead-letter.topic", "malformed-letters");
    assert_eq!(letters.rows().await.unwrap(), ["1", "2"]);
    let letters = topics.read("malformed-letters", 2).await.unwrap();
    assert_eq!((letters[0].key_str(), letters[0].value_str()), (Some("k"), Some("{\"n\":\"x\"}")));
    let headers: Vec<_> = ["thalweg.topic", "thalweg.partition", "thalweg.offset"]
        .map(|name| letters[1].header_str(name).unwrap())
        .into();
    assert_eq!(headers, ["malformed", "0", "3"]);
    assert!(letters[1].header_str("thalweg.reason").unwrap().starts_with("not a valid json record: "));
}

#[tokio::test]
async fn each_format_is_read() {
    topic("csv", &[(0, None, Some("1;\"a;b\"")), (0, None, Some("2;c"))]).await;
    let csv = table("csv", &["n INT", "s STRING"], &[("format", "csv"), ("csv.field-delimiter", ";")]);
    assert_eq!(csv.rows().await.unwrap(), ["1,a;b", "2,c"]);
    topic("raw", &[(0, None, Some("any text, \"really\""))]).await;
    let raw = table("raw", &["line STRING"], &[("format", "raw")]);
    assert_eq!(raw.rows().await.unwrap(), ["any text, \"really\""]);
    // Zigzag numbers; a column that may be NULL is a union: branch, then value.
    topic("avro", &[(0, None, Some("\u{2}\u{6}\u{2}\u{4}ab")), (0, None, Some("\u{0}\u{2}\u{2}c"))]).await;
    let avro = table("avro", &["n BIGINT", "s STRING"], &[("format", "avro")]);
    assert_eq!(avro.rows().await.unwrap(), [",c", "3,ab"]);
}

#[tokio::test]
async fn changes_have_weights() {
    let records = [
        (0, None, Some(r#"{"before":null,"after":{"id":1,"n":5},"op":"c"}"#)),
        (0, None, Some(r#"{"before":{"id":1,"n":5},"after":{"id":1,"n":6},"op":"u"}"#)),
        (0, None, Some(r#"{"before":{"id":1,"n":6},"after":null,"op":"d"}"#)),
    ];
    topic("changes", &records).await;
    let table = table("changes", &["id INT", "n INT"], &[("format", "debezium-json")]);
    let mut reader = table.reader(ALONE, None).await.unwrap();
    assert_eq!(take(reader.as_mut(), 4).await.unwrap(), ["1,5,1", "1,5,-1", "1,6,1", "1,6,-1"]);
}

#[tokio::test]
async fn an_upsert_table_gives_new_rows_and_ends_of_keys() {
    let records = [
        (0, Some("{\"id\":1}"), Some("{\"id\":1,\"n\":5}")),
        (0, Some("{\"id\":1}"), Some("{\"id\":1,\"n\":6}")),
        (0, Some("{\"id\":2}"), Some("{\"id\":2,\"n\":7}")),
        (0, Some("{\"id\":1}"), None),
    ];
    topic("upserts", &records).await;
    let table = table("upserts", &["id INT", "n INT"], &[]).upsert("id");
    let mut reader = table.reader(ALONE, None).await.unwrap();
    assert_eq!(take(reader.as_mut(), 4).await.unwrap(), ["1,5,1", "1,6,1", "2,7,1", "1,,-1"]);
}
