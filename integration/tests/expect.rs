//! What tests say about results and failures.

use std::time::Duration;

use arrow::array::RecordBatch;
use thalweg::Client;
use thalweg_integration::comparison::Rows;

/// Time in which every failure must have been told.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(90);

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
