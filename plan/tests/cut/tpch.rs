//! All 22 TPC-H queries, cut for one, two and four subtasks.

use std::fs;

use crate::fixture::Tables;

/// The share that query 11 asks for at this scale: 0.0001 divided by the scale factor.
const Q11_FRACTION: &str = "0.01";

#[tokio::test]
async fn all_queries_answer_alike_cut_and_whole() {
    let tables = Tables::generate();
    for number in 1..=22 {
        tables.check(&query(number)).await;
    }
}

fn query(number: u32) -> String {
    let path = format!("{}/../integration/tpch/queries/q{number}.sql", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.trim().trim_end_matches(';').replace("{Q11FRAC}", Q11_FRACTION)
}
