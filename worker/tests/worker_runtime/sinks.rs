//! Rows into tables.

use std::{collections::BTreeMap, sync::Arc};

use thalweg_graph::{
    FailureKind, TaskDescriptor, VertexOutput,
    table::{Column, SinkDescriptor, TableDescriptor, TablePath},
};
use thalweg_rpc::TaskUpdate;

use crate::{
    leader::{TestWorker, attempt, task},
    plans::{fragment, plan},
};

const NUMBERS: &str = "SELECT value AS v FROM generate_series(1, 1000) \
                       UNION ALL SELECT value FROM generate_series(1001, 3000)";

fn into_table(mut task: TaskDescriptor, options: &[(&str, &str)]) -> TaskDescriptor {
    let name = |text: &str| text.to_owned();
    let options: BTreeMap<_, _> = options.iter().map(|(key, value)| (name(key), name(value))).collect();
    let table = TableDescriptor {
        path: TablePath { catalog: name("c"), database: name("d"), table: name("t") },
        columns: vec![Column { name: name("v"), data_type: name("BIGINT"), nullable: false }],
        metadata: Vec::new(),
        partition_keys: Vec::new(),
        primary_key: Vec::new(),
        options,
    };
    let sink = SinkDescriptor { table, overwrite: false, static_partition: BTreeMap::new() };
    task.output = Arc::new(VertexOutput::Sink(Box::new(sink)));
    task
}

#[tokio::test]
async fn each_partition_leaves_a_committable() {
    let mut worker = TestWorker::start("files").await;
    let folder = tempfile::tempdir().unwrap();
    let path = format!("file://{}/t", folder.path().display());
    let options = [("connector", "filesystem"), ("path", path.as_str()), ("format", "csv")];
    let numbers = fragment(&plan(NUMBERS, 1, None).await);
    worker.deploy([into_table(task(attempt(0, 0), &numbers, 1), &options)]).await;
    let TaskUpdate::Finished { metrics, committables, .. } = worker.end_of(attempt(0, 0)).await else {
        panic!("the task did not finish");
    };
    assert_eq!(committables.len(), 2);
    assert_eq!(metrics.records_out, 3000);
    assert!(metrics.bytes_out > 3000, "{metrics:?}");
    worker.forget().await;
}

#[tokio::test]
async fn rows_into_nowhere_need_no_commit() {
    let mut worker = TestWorker::start("nowhere").await;
    let numbers = fragment(&plan(NUMBERS, 1, None).await);
    worker.deploy([into_table(task(attempt(0, 0), &numbers, 1), &[("connector", "blackhole")])]).await;
    let TaskUpdate::Finished { committables, .. } = worker.end_of(attempt(0, 0)).await else {
        panic!("the task did not finish");
    };
    assert_eq!(committables, []);
    worker.forget().await;
}

#[tokio::test]
async fn a_sink_that_cannot_be_opened_fails_the_task() {
    let mut worker = TestWorker::start("no such sink").await;
    let numbers = fragment(&plan(NUMBERS, 1, None).await);
    worker.deploy([into_table(task(attempt(0, 0), &numbers, 1), &[("connector", "blackhoel")])]).await;
    let (kind, message) = worker.failure(attempt(0, 0)).await;
    assert_eq!(kind, FailureKind::Deterministic);
    assert!(message.contains("did you mean `blackhole`"), "{message}");
    worker.forget().await;
}
