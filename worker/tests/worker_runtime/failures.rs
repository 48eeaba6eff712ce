//! What goes wrong, and what the leader is told.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use thalweg_graph::{
    FailureKind, Fragment, RuntimeMode,
    exchange::{ExchangeKind, Partitioning},
};
use thalweg_rpc::{TaskUpdate, ToWorker, Trust};

use crate::{
    leader::{TERM, TestWorker, Wired as _, attempt, knowing, shuffle_files, task},
    plans::{EDGE, Input, fragment, plan},
};

const NUMBERS: &str = "SELECT value AS v FROM generate_series(1, 100000)";
const ENDLESS: &str = "SELECT value AS v FROM generate_series(1, 1000000000000)";

#[tokio::test]
async fn a_value_that_cannot_be_computed_fails_for_good() {
    let mut worker = TestWorker::start("values").await;
    let sql = "SELECT 10 / (value - 3) AS v FROM generate_series(1, 10)";
    worker.deploy([task(attempt(0, 0), &fragment(&plan(sql, 1, None).await), 1)]).await;
    let (kind, message) = worker.failure(attempt(0, 0)).await;
    assert_eq!((kind, message.as_str()), (FailureKind::Deterministic, "Divide by zero error"));
    worker.forget().await;
}

#[tokio::test]
async fn bytes_that_are_no_plan_are_refused() {
    let mut worker = TestWorker::start("garbage").await;
    let garbage = Fragment {
        mode: RuntimeMode::Batch,
        plan: Bytes::from_static(b"\x0a\xff"),
        display: String::new(),
        partitions: 1,
    };
    worker.deploy([task(attempt(0, 0), &garbage, 1)]).await;
    assert_eq!(worker.failure(attempt(0, 0)).await.0, FailureKind::PlanRejected);

    let mut three = fragment(&plan(NUMBERS, 1, None).await);
    three.partitions = 3;
    worker.deploy([task(attempt(1, 0), &three, 1)]).await;
    assert_eq!(worker.failure(attempt(1, 0)).await.0, FailureKind::PlanRejected);
    worker.forget().await;
}

#[tokio::test]
async fn a_cancelled_task_stops_and_says_so_once() {
    let mut worker = TestWorker::start("cancel").await;
    let sql = "SELECT max(value) AS v FROM generate_series(1, 1000000000000)";
    worker.deploy([task(attempt(0, 0), &fragment(&plan(sql, 1, None).await), 1)]).await;
    for _ in 0..2 {
        worker.order(ToWorker::Cancel { term: TERM, attempt: attempt(0, 0) }).await;
    }
    assert_eq!(worker.end_of(attempt(0, 0)).await, TaskUpdate::Canceled);
    // An attempt that the worker never saw is as good as cancelled.
    worker.order(ToWorker::Cancel { term: TERM, attempt: attempt(5, 5) }).await;
    assert_eq!(worker.end_of(attempt(5, 5)).await, TaskUpdate::Canceled);
    worker.forget().await;
}

/// Deploys a consumer of what `producer` announces, on `worker`; returns its failure.
async fn consumer_failure(
    worker: &mut TestWorker,
    kind: ExchangeKind,
    location: thalweg_graph::exchange::ResultPartitionLocation,
) -> (FailureKind, String) {
    let schema = plan(NUMBERS, 1, None).await.schema();
    let input = Input { schema, key: None, partitions: 1 };
    let consumer = fragment(&plan("SELECT count(v) AS c FROM input", 1, Some(input)).await);
    worker.deploy([task(attempt(1, 0), &consumer, 1).reading(EDGE, kind, &[location])]).await;
    worker.failure(attempt(1, 0)).await
}

fn lost() -> FailureKind {
    FailureKind::FetchFailed { edge: EDGE, producer: attempt(0, 0) }
}

#[tokio::test]
async fn output_that_is_not_there_names_its_producer() {
    let mut workers = [TestWorker::start("without").await, TestWorker::start("asking").await];
    for holder in 0..2 {
        let location = workers[holder].location(attempt(0, 0), EDGE);
        let (kind, message) = consumer_failure(&mut workers[1], ExchangeKind::Blocking, location).await;
        assert_eq!(kind, lost());
        assert!(message.contains("does not hold it"), "{message}");
        workers[1].forget().await;
        // The attempt is free again once its job is forgotten.
        workers[1] = TestWorker::start("asking again").await;
    }
}

#[tokio::test]
async fn a_worker_that_cannot_be_reached_is_a_lost_producer() {
    let mut worker = TestWorker::start("asking").await;
    let mut location = worker.location(attempt(0, 0), EDGE);
    location.worker.0 = "gone".to_owned();
    // A port that was just free.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    location.data_address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (kind, message) = consumer_failure(&mut worker, ExchangeKind::Pipelined, location).await;
    assert_eq!(kind, lost());
    assert!(message.contains("cannot connect to its worker"), "{message}");
    worker.forget().await;
}

#[tokio::test]
async fn a_worker_with_another_secret_gets_no_rows() {
    let producer = TestWorker::start("knowing").await;
    for (trust, expected) in [
        (knowing("another secret than theirs"), "is another than there"),
        (Trust::default(), "set `security.cluster.secret-file`"),
    ] {
        let mut stranger = TestWorker::start_with("stranger", |config| config.trust = trust).await;
        let location = producer.location(attempt(0, 0), EDGE);
        let (kind, message) = consumer_failure(&mut stranger, ExchangeKind::Pipelined, location).await;
        assert_eq!(kind, lost());
        assert!(message.contains(expected), "{message}");
        stranger.forget().await;
    }
}

#[tokio::test]
async fn a_worker_that_dies_under_its_consumer_is_a_lost_producer() {
    let mut consumer = TestWorker::start("survivor").await;
    let mut producer = TestWorker::start("dying").await;
    let endless = fragment(&plan(ENDLESS, 1, None).await);
    let produce = task(attempt(0, 0), &endless, 1);
    producer.deploy([produce.writing(EDGE, ExchangeKind::Pipelined, &Partitioning::Single, 1)]).await;
    let location = producer.location(attempt(0, 0), EDGE);
    let stopping = async {
        producer.worker.stop();
        producer.worker.stopped().await.unwrap()
    };
    let failing = consumer_failure(&mut consumer, ExchangeKind::Pipelined, location);
    let ((kind, _), _) = tokio::join!(failing, stopping);
    assert_eq!(kind, lost());
    consumer.forget().await;
}

#[tokio::test]
async fn a_failed_producer_fails_its_consumer_after_itself() {
    let mut workers = [TestWorker::start("failing").await, TestWorker::start("reading").await];
    let sql = "SELECT 10 / (value - 90000) AS v FROM generate_series(1, 100000)";
    let produce = task(attempt(0, 0), &fragment(&plan(sql, 1, None).await), 1);
    workers[0].deploy([produce.writing(EDGE, ExchangeKind::Pipelined, &Partitioning::Single, 1)]).await;
    let location = workers[0].location(attempt(0, 0), EDGE);
    let (kind, message) = consumer_failure(&mut workers[1], ExchangeKind::Pipelined, location).await;
    assert_eq!(kind, lost());
    assert!(message.contains("Divide by zero"), "{message}");
    assert_eq!(workers[0].failure(attempt(0, 0)).await.0, FailureKind::Deterministic);
    for worker in &mut workers {
        worker.forget().await;
    }
}

#[tokio::test]
async fn no_file_is_left_once_a_producer_has_said_that_it_failed_or_stopped() {
    let mut worker = TestWorker::start("unfinished").await;
    for (vertex, sql) in
        [(0, "SELECT 10 / (value - 90000) AS v FROM generate_series(1, 100000)"), (1, ENDLESS)]
    {
        let produce = task(attempt(vertex, 0), &fragment(&plan(sql, 1, None).await), 1);
        worker.deploy([produce.writing(EDGE, ExchangeKind::Blocking, &Partitioning::Single, 1)]).await;
    }
    worker.failure(attempt(0, 0)).await;
    worker.order(ToWorker::Cancel { term: TERM, attempt: attempt(1, 0) }).await;
    assert_eq!(worker.end_of(attempt(1, 0)).await, TaskUpdate::Canceled);
    assert_eq!(shuffle_files(worker.tmp.path()), Vec::<PathBuf>::new());
    worker.forget().await;
}

#[tokio::test]
async fn a_corrupt_shuffle_file_is_a_lost_producer_wherever_it_is_read() {
    let mut holder = TestWorker::start("holder").await;
    let mut other = TestWorker::start("other").await;
    let produce = task(attempt(0, 0), &fragment(&plan(NUMBERS, 1, None).await), 1);
    holder.deploy([produce.writing(EDGE, ExchangeKind::Blocking, &Partitioning::Single, 1)]).await;
    holder.finished(attempt(0, 0)).await;
    let file = shuffle_files(holder.tmp.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&file, bytes).unwrap();

    let location = holder.location(attempt(0, 0), EDGE);
    for worker in [&mut other, &mut holder] {
        let (kind, message) = consumer_failure(worker, ExchangeKind::Blocking, location.clone()).await;
        assert_eq!(kind, lost());
        assert!(message.contains("is corrupt"), "{message}");
        worker.forget().await;
    }
}
