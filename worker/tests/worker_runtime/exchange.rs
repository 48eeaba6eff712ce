//! Two vertices on two workers, joined by an edge.

use std::sync::Arc;

use arrow::{array::AsArray as _, datatypes::Int64Type};
use datafusion::physical_plan::ExecutionPlan;
use thalweg_graph::{
    Attempt,
    exchange::{ExchangeKind, Partitioning, ResultPartitionId},
};
use thalweg_rpc::{TaskUpdate, ToWorker};

use crate::{
    leader::{JOB, TERM, TestWorker, Wired as _, attempt, task},
    plans::{EDGE, Input, fragment, hash, plan},
};

const ROWS: i64 = 200_000;
const KEYS: i64 = 1000;

/// Two partitions of rows with a number, a key and a text.
async fn producer() -> Arc<dyn ExecutionPlan> {
    let half = |from: i64, to: i64| {
        format!(
            "SELECT value AS v, value % {KEYS} AS k, 'a text of some length ' || CAST(value AS STRING) AS t \
             FROM generate_series({from}, {to})"
        )
    };
    let sql = format!("{} UNION ALL {}", half(1, ROWS / 2), half(ROWS / 2 + 1, ROWS));
    let plan = plan(&sql, 1, None).await;
    assert_eq!(plan.properties().partitioning.partition_count(), 2);
    plan
}

/// Runs two producers and two consumers, one of each on each worker; returns the consumers' rows as (key, count, sum).
async fn two_stages(kind: ExchangeKind, partitioning: &Partitioning, consumer: &str) -> Vec<(i64, i64, i64)> {
    let mut workers = [TestWorker::start("left").await, TestWorker::start("right").await];
    let producer = producer().await;
    let key = matches!(partitioning, Partitioning::Hash { .. }).then_some("k");
    let input = Input { schema: producer.schema(), key, partitions: 2 };
    let consumer = fragment(&plan(consumer, 2, Some(input)).await);
    assert_eq!(consumer.partitions, 2, "{}", consumer.display);
    assert!(!consumer.display.contains("RepartitionExec"), "{}", consumer.display);
    let producer = fragment(&producer);

    let producers: Vec<_> =
        workers.iter().zip(0..).map(|(worker, index)| worker.location(attempt(0, index), EDGE)).collect();
    let consume = |index| task(attempt(1, index), &consumer, 2).reading(EDGE, kind, &producers);
    if kind == ExchangeKind::Pipelined {
        // Consumers may come first.
        workers[0].deploy([consume(0)]).await;
    }
    for (worker, index) in workers.iter().zip(0..) {
        let produce = task(attempt(0, index), &producer, 2).writing(EDGE, kind, partitioning, 2);
        worker.deploy([produce]).await;
    }
    if kind == ExchangeKind::Blocking {
        for (worker, index) in workers.iter_mut().zip(0..) {
            assert_eq!(worker.finished(attempt(0, index)).await.records_out, ROWS as u64 / 2);
        }
        workers[0].deploy([consume(0)]).await;
    }
    workers[1].deploy([consume(1)]).await;

    let mut found = Vec::new();
    for (worker, index) in workers.iter_mut().zip(0..) {
        for batch in worker.rows(attempt(1, index)).await {
            let column = |at: usize| batch.column(at).as_primitive::<Int64Type>();
            found.extend(
                (0..batch.num_rows())
                    .map(|row| (column(0).value(row), column(1).value(row), column(2).value(row))),
            );
        }
        let metrics = worker.finished(attempt(1, index)).await;
        assert!(metrics.records_in > 0 && metrics.bytes_in > 0, "{metrics:?}");
    }
    for worker in &mut workers {
        worker.forget().await;
    }
    found.sort_unstable();
    found
}

const BY_KEY: &str = "SELECT k, count(t) AS c, sum(v) AS s FROM input GROUP BY k";

async fn by_hash(kind: ExchangeKind) {
    let partitioning = hash("k", &producer().await);
    let found = two_stages(kind, &partitioning, BY_KEY).await;
    assert_eq!(found.len(), KEYS as usize, "each key must meet in one place");
    let count = ROWS / KEYS;
    for (key, (found_key, found_count, sum)) in (0..KEYS).zip(found) {
        // key + KEYS * (0..count), where the first of key 0 is KEYS itself.
        let first = if key == 0 { KEYS } else { key };
        assert_eq!(
            (found_key, found_count, sum),
            (key, count, count * first + KEYS * count * (count - 1) / 2)
        );
    }
}

#[tokio::test]
async fn equal_keys_meet_while_both_ends_run() {
    by_hash(ExchangeKind::Pipelined).await;
}

#[tokio::test]
async fn equal_keys_meet_after_the_producers_finished() {
    by_hash(ExchangeKind::Blocking).await;
}

/// All rows of a partition as one row, without any exchange inside.
const PASS: &str = "SELECT v AS k, v AS c, v AS s FROM input WHERE v % 1000 = 0";

#[tokio::test]
async fn a_broadcast_reaches_every_consumer() {
    for kind in [ExchangeKind::Pipelined, ExchangeKind::Blocking] {
        let found = two_stages(kind, &Partitioning::Broadcast, PASS).await;
        let expected: Vec<_> = (1..=ROWS / 1000).flat_map(|n| [(n * 1000, n * 1000, n * 1000); 2]).collect();
        assert_eq!(found, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn a_rebalance_loses_and_doubles_nothing() {
    for kind in [ExchangeKind::Pipelined, ExchangeKind::Blocking] {
        let found = two_stages(kind, &Partitioning::RoundRobin, PASS).await;
        let expected: Vec<_> = (1..=ROWS / 1000).map(|n| (n * 1000, n * 1000, n * 1000)).collect();
        assert_eq!(found, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn a_consumer_that_has_enough_lets_its_producer_end() {
    let mut workers = [TestWorker::start("many").await, TestWorker::start("few").await];
    let endless = plan("SELECT value AS v FROM generate_series(1, 1000000000000)", 1, None).await;
    let input = Input { schema: endless.schema(), key: None, partitions: 1 };
    let few = fragment(&plan("SELECT v FROM input LIMIT 5", 1, Some(input)).await);
    let producer = task(attempt(0, 0), &fragment(&endless), 1);
    workers[0].deploy([producer.writing(EDGE, ExchangeKind::Pipelined, &Partitioning::Single, 1)]).await;
    let location = workers[0].location(attempt(0, 0), EDGE);
    workers[1]
        .deploy([task(attempt(1, 0), &few, 1).reading(EDGE, ExchangeKind::Pipelined, &[location])])
        .await;
    let rows: usize = workers[1].rows(attempt(1, 0)).await.iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, 5);
    workers[0].finished(attempt(0, 0)).await;
    for worker in &mut workers {
        worker.forget().await;
    }
}

#[tokio::test]
async fn a_slow_consumer_stops_its_producer() {
    let mut worker = TestWorker::start("slow").await;
    let endless = plan("SELECT value AS v FROM generate_series(1, 1000000000000)", 1, None).await;
    let producer: Attempt = attempt(0, 0);
    let task = task(producer, &fragment(&endless), 1);
    // Nobody reads.
    worker.deploy([task.writing(EDGE, ExchangeKind::Pipelined, &Partitioning::Single, 1)]).await;
    let mut before = 0;
    let mut unchanged = 0;
    worker
        .until("the producer stands still", |worker| {
            let now = worker.memory_used_bytes();
            unchanged = if now > 0 && now == before { unchanged + 1 } else { 0 };
            before = now;
            unchanged == 10
        })
        .await;
    assert!(before <= 8 << 20, "{before} bytes are queued");
    worker.order(ToWorker::Cancel { term: TERM, attempt: producer }).await;
    assert_eq!(worker.end_of(producer).await, TaskUpdate::Canceled);
    worker.until("the queue is gone", |worker| worker.memory_used_bytes() == 0).await;
    worker.forget().await;
}

#[tokio::test]
async fn released_partitions_go_and_others_stay() {
    let mut worker = TestWorker::start("release").await;
    let producer = fragment(&producer().await);
    for index in 0..2 {
        let produce = task(attempt(0, index), &producer, 2);
        worker.deploy([produce.writing(EDGE, ExchangeKind::Blocking, &Partitioning::Single, 1)]).await;
        worker.finished(attempt(0, index)).await;
    }
    assert_eq!(worker.worker.partitions_held(), 2);
    let released = ResultPartitionId { producer: attempt(0, 0), edge: EDGE };
    worker.order(ToWorker::ReleasePartitions { term: TERM, partitions: vec![released] }).await;
    worker.until("one is left", |worker| worker.partitions_held() == 1).await;
    assert_eq!(released.producer.job, JOB);
    worker.forget().await;
}
