//! Operators that need more memory than the worker has.

use arrow::{array::AsArray as _, datatypes::Int64Type};

use crate::{
    leader::{TestWorker, attempt, task},
    plans::{fragment, plan},
};

/// Leaves the pool its minimum of 32 MiB.
const LITTLE: u64 = 160 << 20;

async fn spilling(sql: &str) -> (Vec<i64>, u64) {
    let mut worker = TestWorker::start_with("little memory", |config| config.memory_bytes = LITTLE).await;
    worker.deploy([task(attempt(0, 0), &fragment(&plan(sql, 1, None).await), 1)]).await;
    let rows = worker.rows(attempt(0, 0)).await;
    let numbers =
        rows.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    let spilled = worker.finished(attempt(0, 0)).await.bytes_spilled;
    worker.forget().await;
    (numbers, spilled)
}

#[tokio::test]
async fn a_sort_spills_and_stays_right() {
    let sql = "SELECT value AS v, 'a text that takes room ' || CAST(value AS STRING) AS t \
               FROM generate_series(1, 1000000) ORDER BY v DESC";
    let (numbers, spilled) = spilling(sql).await;
    assert!(spilled > 1 << 20, "{spilled} bytes were spilled");
    assert!(numbers.iter().copied().eq((1..=1_000_000).rev()));
}

#[tokio::test]
async fn an_aggregate_spills_and_stays_right() {
    let sql = "SELECT count(v) AS c FROM (SELECT value % 700000 AS v, count(*) AS n FROM generate_series(1, 1400000) \
               GROUP BY value % 700000) WHERE n = 2";
    let (numbers, spilled) = spilling(sql).await;
    assert!(spilled > 1 << 20, "{spilled} bytes were spilled");
    assert_eq!(numbers, [700_000]);
}
