//! Rows for the client.

use arrow::{array::AsArray as _, datatypes::Int64Type};
use thalweg_graph::FailureKind;

use crate::{
    leader::{TestWorker, attempt, task},
    plans::{fragment, plan},
};

#[tokio::test]
async fn all_partitions_of_an_embedded_task_reach_the_client() {
    let mut worker = TestWorker::start_with("embedded", |config| config.bind = None).await;
    assert_eq!(worker.registration.data_address, "");
    let sql = "SELECT value AS v FROM generate_series(1, 100000) \
               UNION ALL SELECT value FROM generate_series(100001, 250000)";
    let fragment = fragment(&plan(sql, 1, None).await);
    assert_eq!(fragment.partitions, 2);
    worker.deploy([task(attempt(0, 0), &fragment, 1)]).await;
    let rows = worker.rows(attempt(0, 0)).await;
    let sum: i64 = rows
        .iter()
        .map(|batch| batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>())
        .sum();
    assert_eq!(sum, 250_000 * 250_001 / 2);
    let metrics = worker.finished(attempt(0, 0)).await;
    assert_eq!((metrics.records_in, metrics.records_out), (250_000, 250_000));
    assert!(metrics.bytes_out > 250_000 * 8, "{metrics:?}");
    worker.forget().await;
}

#[tokio::test]
async fn a_result_without_rows_has_its_columns() {
    let mut worker = TestWorker::start("empty").await;
    let fragment =
        fragment(&plan("SELECT value AS v FROM generate_series(1, 10) WHERE value > 10", 1, None).await);
    worker.deploy([task(attempt(0, 0), &fragment, 1)]).await;
    assert_eq!(worker.rows(attempt(0, 0)).await, []);
    worker.forget().await;
}

#[tokio::test]
async fn a_task_given_twice_runs_once_and_a_new_attempt_runs_again() {
    let mut worker = TestWorker::start("twice").await;
    let fragment = fragment(&plan("SELECT value AS v FROM generate_series(1, 10)", 1, None).await);
    let first = task(attempt(0, 0), &fragment, 1);
    let mut second = first.clone();
    second.attempt.number = 1;
    worker.deploy([first.clone(), first.clone()]).await;
    worker.finished(first.attempt).await;
    worker.deploy([first, second.clone()]).await;
    assert_eq!(worker.rows(second.attempt).await.iter().map(|batch| batch.num_rows()).sum::<usize>(), 10);
    worker.forget().await;
}

#[tokio::test]
async fn a_plan_of_another_build_is_refused() {
    let mut worker = TestWorker::start("build").await;
    let fragment = fragment(&plan("SELECT value AS v FROM generate_series(1, 10)", 1, None).await);
    let mut other = task(attempt(0, 0), &fragment, 1);
    other.build_id = "0.0.1".to_owned();
    worker.deploy([other]).await;
    let (kind, message) = worker.failure(attempt(0, 0)).await;
    assert_eq!(kind, FailureKind::PlanRejected);
    assert!(message.contains("build `0.0.1`"), "{message}");
    worker.forget().await;
}
