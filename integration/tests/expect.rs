//! What tests say about results and failures.

use std::{fmt::Debug, time::Duration};

use arrow::array::RecordBatch;
use thalweg::Client;
use thalweg_integration::comparison::Rows;

/// Time in which every failure must have been told.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(90);

/// Time in which what follows the end of a job must have come.
const AFTERMATH_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two looks at what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until something is as it must be.
pub async fn becomes<T: PartialEq + Debug>(what: &str, mut look: impl FnMut() -> T, expected: &T) {
    let deadline = tokio::time::Instant::now() + AFTERMATH_TIMEOUT;
    loop {
        let seen = look();
        if seen == *expected {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what}: {seen:?} has not become {expected:?}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Rows as lines of cells joined by commas.
pub fn text(batches: &[RecordBatch]) -> String {
    let Some(first) = batches.first() else { return String::new() };
    let rows = Rows::of_batches(&first.schema(), batches).expect("rows can be shown").rows;
    let line = |row: Vec<Option<String>>| {
        row.into_iter().map(|cell| cell.unwrap_or_else(|| "NULL".to_owned())).collect::<Vec<_>>().join(",")
    };
    rows.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The error of a script that must fail: one that a user can read, and soon.
pub async fn failure(client: &mut Client, sql: &str) -> String {
    let shown: String = sql.chars().take(200).collect();
    let result = tokio::time::timeout(FAILURE_TIMEOUT, client.sql(sql)).await;
    let result = result.unwrap_or_else(|_| panic!("`{shown}` did not end in {FAILURE_TIMEOUT:?}"));
    let error = match result {
        Ok(rows) => panic!("`{shown}` succeeded: {}", text(&rows)),
        Err(error) => format!("{error:#}"),
    };
    assert!(!error.trim().is_empty() && error.len() < 4000, "`{shown}`: {} bytes of error", error.len());
    for word in ["panicked", "RUST_BACKTRACE", "This was likely caused by a bug", "Internal error", "unwrap"]
    {
        assert!(!error.contains(word), "`{shown}`: {error}");
    }
    error
}
