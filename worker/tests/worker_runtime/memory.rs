//! Operators that need more memory than the worker has.

use std::sync::Arc;

use arrow::{array::AsArray as _, datatypes::Int64Type};
use datafusion::{
    execution::{memory_pool::FairSpillPool, runtime_env::RuntimeEnvBuilder},
    physical_plan::displayable,
};
use thalweg_graph::FailureKind;

use crate::{
    leader::{TestWorker, attempt, task},
    plans::{fragment, plan, plan_for},
};

/// Leaves the pool its minimum of 32 MiB.
const LITTLE: u64 = 160 << 20;

async fn spilling(sql: &str) -> (Vec<i64>, u64) {
    let mut worker = TestWorker::start_with("little memory", |config| config.memory_bytes = LITTLE).await;
    let pool = Arc::new(FairSpillPool::new(32 << 20));
    let environment = RuntimeEnvBuilder::new().with_memory_pool(pool).build().unwrap();
    let planned = plan_for(environment, sql, 1, None).await;
    worker.deploy([task(attempt(0, 0), &fragment(&planned), 1)]).await;
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

/// Rows of a kilobyte.
#[tokio::test]
async fn a_sort_of_wide_rows_spills_in_the_smallest_pool() {
    let sql = "SELECT value AS v, repeat('0123456789', 100) || CAST(value AS STRING) AS t \
               FROM generate_series(1, 60000) ORDER BY v DESC";
    let (numbers, spilled) = spilling(sql).await;
    assert!(spilled > 16 << 20, "{spilled} bytes were spilled");
    assert!(numbers.iter().copied().eq((1..=60_000).rev()));
}

/// A join whose build side is larger than the pool, planned where memory is plenty.
const JOIN: &str = "SELECT count(a.v) AS n FROM (SELECT value * 7919 AS v FROM generate_series(1, 3000000)) a \
                    JOIN (SELECT value * 7919 AS w FROM generate_series(1, 3000000)) b ON a.v = b.w";

#[tokio::test]
async fn a_join_that_ran_out_of_memory_says_so_and_spills_when_it_is_told_to() {
    let mut worker = TestWorker::start_with("little memory", |config| config.memory_bytes = LITTLE).await;
    let planned = plan(JOIN, 2, None).await;
    let text = displayable(planned.as_ref()).indent(false).to_string();
    assert!(text.contains("HashJoinExec"), "{text}");
    let whole = fragment(&planned);
    worker.deploy([task(attempt(0, 0), &whole, 1)]).await;
    assert_eq!(worker.failure(attempt(0, 0)).await.0, FailureKind::OutOfMemory);

    let mut again = task(attempt(1, 0), &whole, 1);
    again.spills_joins = true;
    worker.deploy([again]).await;
    let rows = worker.rows(attempt(1, 0)).await;
    let counted: i64 =
        rows.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).sum();
    assert_eq!(counted, 3_000_000);
    assert!(worker.finished(attempt(1, 0)).await.bytes_spilled > 1 << 20);
    worker.forget().await;
}
