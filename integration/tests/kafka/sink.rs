//! Writing topics without transactions.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringViewArray},
    datatypes::SchemaRef,
};
use thalweg_graph::CheckpointId;
use thalweg_integration::kafka::Kafka;

use super::table::Table;

/// Rows of `id INT, name STRING`, with weights where asked for.
pub fn batch(rows: &[(i32, &str)], weights: Option<&[i64]>) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int32Array::from_iter(rows.iter().map(|(id, _)| Some(*id))));
    let names: ArrayRef = Arc::new(StringViewArray::from_iter(rows.iter().map(|(_, name)| Some(*name))));
    let mut columns = vec![("id", ids, true), ("name", names, true)];
    if let Some(weights) = weights {
        columns.push(("__weight", Arc::new(Int64Array::from(weights.to_vec())), false));
    }
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

/// The columns of such rows.
pub fn schema() -> SchemaRef {
    batch(&[], None).schema()
}

/// A JSON table of `id INT, name STRING`.
pub fn table(topic: &str, options: &[(&str, &str)]) -> Table {
    Table::new(&Kafka::shared().bootstrap, topic, &["id INT", "name STRING"], options)
}

/// Writes rows to a topic made for it, and ends.
async fn write(table: &Table, topic: &str, partitions: i32, rows: RecordBatch) -> Vec<(i32, String, String)> {
    let topics = Kafka::shared().topics().await.unwrap();
    topics.create(topic, partitions).await.unwrap();
    let mut writer = table.writer(rows.schema(), 0).await.unwrap();
    let count = rows.num_rows();
    writer.write(rows).await.unwrap();
    let outcome = writer.finish().await.unwrap();
    assert!(outcome.committable.is_none() && (outcome.bytes_written > 0) == (count > 0));
    let text = |text: Option<&str>| text.unwrap_or("(none)").to_owned();
    let records = topics.read_all(topic, Default::default()).await.unwrap();
    records
        .iter()
        .map(|record| (record.partition, text(record.key_str()), text(record.value_str())))
        .collect()
}

#[tokio::test]
async fn rows_are_records_with_keys() {
    let options = [("key.format", "raw"), ("key.fields", "name"), ("value.fields-include", "EXCEPT_KEY")];
    let written = write(&table("keyed", &options), "keyed", 1, batch(&[(1, "a"), (2, "b")], None)).await;
    let record = |key: &str, value: &str| (0, key.to_owned(), value.to_owned());
    assert_eq!(written, [record("a", "{\"id\":1}"), record("b", "{\"id\":2}")]);
}

#[tokio::test]
async fn keys_find_the_partition_that_javas_client_finds() {
    let options = [("key.format", "raw"), ("key.fields", "name")];
    let rows = batch(&[(1, "alpha"), (2, "beta"), (3, "gamma"), (4, "alpha")], None);
    let written = write(&table("hashed", &options), "hashed", 4, rows).await;
    let partition = |key: &str| written.iter().find(|(_, found, _)| found == key).unwrap().0;
    // (murmur2(key) & 0x7fffffff) % 4 of org.apache.kafka.common.utils.Utils.
    let expected =
        ["alpha", "beta", "gamma"].map(|key| (java_murmur2(key.as_bytes()) & 0x7fff_ffff) as i32 % 4);
    assert_eq!(["alpha", "beta", "gamma"].map(partition), expected);
}

/// The hash by which Java's client finds a partition, written down once more.
fn java_murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    for (position, byte) in rest.iter().enumerate().rev() {
        h ^= u32::from(*byte) << (8 * position);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[tokio::test]
async fn a_fixed_partitioner_gives_each_subtask_one_partition() {
    let rows = batch(&[(1, "a"), (2, "b"), (3, "c")], None);
    let written = write(&table("fixed", &[("sink.partitioner", "fixed")]), "fixed", 3, rows).await;
    assert!(written.iter().all(|(partition, ..)| *partition == 0), "{written:?}");
    let rows = batch(&[(1, "a"), (2, "b"), (3, "c")], None);
    let written = write(&table("robin", &[("sink.partitioner", "round-robin")]), "robin", 3, rows).await;
    assert_eq!(written.iter().map(|(partition, ..)| *partition).collect::<Vec<_>>(), [0, 1, 2]);
}

#[tokio::test]
async fn an_upsert_table_writes_the_last_row_of_each_key_and_tombstones() {
    let table = table("upserted", &[]).upsert("id");
    let rows = batch(&[(1, "new"), (1, "old"), (2, "gone"), (3, "x"), (3, "x")], Some(&[1, -1, -1, 1, -1]));
    let written = write(&table, "upserted", 1, rows).await;
    let record = |key: &str, value: &str| (0, key.to_owned(), value.to_owned());
    assert_eq!(
        written,
        [record("{\"id\":1}", "{\"id\":1,\"name\":\"new\"}"), record("{\"id\":2}", "(none)")]
    );
}

#[tokio::test]
async fn changes_are_written_where_the_format_has_them_and_refused_elsewhere() {
    let rows = batch(&[(1, "a"), (1, "a")], Some(&[1, -1]));
    let written = write(&table("change", &[("format", "debezium-json")]), "change", 1, rows.clone()).await;
    assert_eq!(written[0].2, r#"{"before":null,"after":{"id":1,"name":"a"},"op":"c"}"#);
    assert_eq!(written[1].2, r#"{"before":{"id":1,"name":"a"},"after":null,"op":"d"}"#);
    let mut writer = table("change", &[]).writer(rows.schema(), 0).await.unwrap();
    let error = writer.write(rows).await.unwrap_err().to_string();
    assert!(error.contains("`upsert-kafka`"), "{error}");
}

#[tokio::test]
async fn a_checkpoint_waits_until_its_rows_are_written() {
    let topics = Kafka::shared().topics().await.unwrap();
    topics.create("waits", 1).await.unwrap();
    let table =
        table("waits", &[("properties.linger.ms", "60000"), ("properties.delivery.timeout.ms", "120000")]);
    let mut writer = table.writer(schema(), 0).await.unwrap();
    writer.write(batch(&[(1, "a"), (2, "b")], None)).await.unwrap();
    assert_eq!(writer.prepare(CheckpointId(1)).await.unwrap(), None);
    assert_eq!(topics.values("waits").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_told() {
    let error = table("nowhere", &[]).writer(schema(), 0).await.err().unwrap().to_string();
    assert!(error.contains("topic `nowhere` does not exist"), "{error}");
}
