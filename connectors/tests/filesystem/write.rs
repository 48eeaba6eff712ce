//! Writing: formats, partitions, rolling, what is visible when.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray};
use thalweg_connectors::{BuiltinConnectors, ConnectorsConfig, commit};
use thalweg_plan::Connectors;

use crate::harness::{attempt, fixture, job};

pub fn batch(rows: &[(i32, Option<&str>)]) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|(number, _)| *number)));
    let texts: ArrayRef = Arc::new(rows.iter().map(|(_, text)| *text).collect::<StringArray>());
    RecordBatch::try_from_iter_with_nullable([("a", numbers, true), ("b", texts, true)]).unwrap()
}

#[tokio::test]
async fn what_is_written_is_read_in_every_format() {
    for format in ["parquet", "csv", "json"] {
        let null = [("format", format), ("csv.null-literal", "NULL")];
        let options = if format == "csv" { &null[..] } else { &null[..1] };
        let t = fixture(&["a INT", "b STRING"], &[], options);
        let rows = [(1, Some("x,\"y\"\nz")), (2, None), (3, Some(""))];
        t.insert(&t.sink(), job(1), &[batch(&rows)]).await;
        let read = t.query("SELECT a, b IS NULL AS n, length(b) AS l FROM t ORDER BY a").await.unwrap();
        assert_eq!(read, ["1|false|7", "2|true|", "3|false|0"], "{format}");
    }
}

#[tokio::test]
async fn times_survive_text() {
    for options in
        [vec![("format", "csv")], vec![("format", "json"), ("json.timestamp-format.standard", "ISO-8601")]]
    {
        let t = fixture(&["a TIMESTAMP(3)"], &[], &options);
        let times: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1_704_164_645_678]));
        t.insert(&t.sink(), job(1), &[RecordBatch::try_from_iter([("a", times)]).unwrap()]).await;
        assert_eq!(t.query("SELECT a FROM t").await.unwrap(), ["2024-01-02T03:04:05.678"]);
    }
}

#[tokio::test]
async fn rows_go_to_the_folder_of_their_partition() {
    let t = fixture(&["a INT", "b STRING"], &["b"], &[("format", "json")]);
    let rows = [(1, Some("x")), (2, Some("y/z")), (3, Some("x")), (4, None)];
    t.insert(&t.sink(), job(1), &[batch(&rows)]).await;
    let files = t.files();
    let folders: Vec<_> = files.iter().map(|file| file.split('/').next().unwrap()).collect();
    assert_eq!(folders, ["b=__DEFAULT_PARTITION__", "b=x", "b=y%2Fz"]);
    assert_eq!(t.query("SELECT a, b FROM t ORDER BY a").await.unwrap(), ["1|x", "2|y/z", "3|x", "4|"]);
}

#[tokio::test]
async fn the_partition_clause_gives_values_that_rows_lack() {
    let t = fixture(&["a INT", "b STRING", "c INT"], &["c", "b"], &[("format", "csv")]);
    let mut sink = t.sink();
    sink.static_partition.insert("c".to_owned(), Some("7".to_owned()));
    t.insert(&sink, job(1), &[batch(&[(1, Some("x"))])]).await;
    assert!(t.files()[0].starts_with("c=7/b=x/part-"));
    assert_eq!(t.query("SELECT a, b, c FROM t").await.unwrap(), ["1|x|7"]);
}

#[tokio::test]
async fn files_are_ended_at_the_target_size() {
    let options = [("format", "csv"), ("sink.rolling-policy.file-size", "1kb")];
    let t = fixture(&["a INT", "b STRING"], &[], &options);
    let text = "x".repeat(100);
    let batches: Vec<_> = (0..40).map(|n| batch(&[(n, Some(&text))])).collect();
    t.insert(&t.sink(), job(1), &batches).await;
    assert_eq!(t.files().len(), 4);
    assert_eq!(t.query("SELECT count(DISTINCT a) AS n FROM t").await.unwrap(), ["40"]);
}

#[tokio::test]
async fn many_partitions_need_few_open_files_and_little_memory() {
    let mut t = fixture(&["a INT", "b STRING"], &["b"], &[("format", "parquet")]);
    let pool = Arc::new(datafusion::execution::memory_pool::GreedyMemoryPool::new(1 << 20));
    let config = ConnectorsConfig { memory_pool: Some(pool), ..Default::default() };
    t.connectors = BuiltinConnectors::new(config).unwrap();
    let names: Vec<String> = (0..200).map(|n| format!("p{n}")).collect();
    let rows: Vec<_> = names.iter().enumerate().map(|(n, name)| (n as i32, Some(name.as_str()))).collect();
    t.insert(&t.sink(), job(1), &[batch(&rows)]).await;
    assert_eq!(t.files().len(), 200);
    assert_eq!(t.connectors.runtime_env().memory_pool.reserved(), 0);
    assert_eq!(t.query("SELECT count(*) AS n, count(DISTINCT b) AS d FROM t").await.unwrap(), ["200|200"]);
}

#[tokio::test]
async fn nothing_is_visible_before_the_commit_and_a_doubled_attempt_never_shows() {
    let t = fixture(&["a INT", "b STRING"], &[], &[("format", "json")]);
    let sink = t.sink();
    let lost = t.stage(&sink, attempt(job(1), 0, 0), &[batch(&[(1, None)])]).await.unwrap();
    let won = t.stage(&sink, attempt(job(1), 0, 1), &[batch(&[(1, None)])]).await.unwrap();
    assert_ne!(lost, won);
    assert_eq!(t.query("SELECT count(*) AS n FROM t").await.unwrap(), ["0"]);
    let outcome = commit::commit(&t.connectors, job(1), &sink, &[won]).await.unwrap();
    assert_eq!((outcome.files, outcome.rows), (1, 1));
    assert_eq!(t.query("SELECT count(*) AS n FROM t").await.unwrap(), ["1"]);
    assert_eq!(t.files().len(), 1);
}

#[tokio::test]
async fn an_aborted_job_leaves_nothing() {
    let t = fixture(&["a INT", "b STRING"], &["b"], &[("format", "parquet")]);
    let sink = t.sink();
    t.stage(&sink, attempt(job(1), 0, 0), &[batch(&[(1, Some("x"))])]).await.unwrap();
    commit::abort(&t.connectors, job(1), &sink).await.unwrap();
    commit::abort(&t.connectors, job(1), &sink).await.unwrap();
    assert_eq!(t.files(), [""; 0]);
}
