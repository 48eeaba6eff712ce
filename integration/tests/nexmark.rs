//! Nexmark's queries over the events that the connector makes, as batches and as streams, against the answers of an independent
//! engine (`nexmark/answers.py`).

use std::{collections::BTreeMap, fs, path::Path};

use arrow::array::RecordBatch;
use serde::Deserialize;
use tempfile::TempDir;
use thalweg::output::cell::Column;
use thalweg_graph::Options;
use thalweg_integration::nexmark::{Events, queries};
use thalweg_plan::functions::zone::Zone;

use crate::place::{Exchange, Place};

/// Queries whose answer depends on when they run: only that they give rows is checked.
const BY_THE_CLOCK: [&str; 1] = ["q12"];

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Answer {
    rows: usize,
    crc32: u32,
}

fn answers() -> BTreeMap<String, Answer> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("nexmark/answers.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A hundred seconds around eight in the morning. No two events are at the same time, and of this seed no two of the ten highest bids
/// for an auction are the same, whose order would be left open.
fn events(folder: &TempDir) -> Events {
    Events {
        count: 10_000,
        rate: 100,
        options: &[("base-time", "2015-07-15 07:59:00"), ("seed", "3")],
        folder: folder.path().to_owned(),
    }
}

/// The rows in some order, as one checksum.
fn answer(batches: &[RecordBatch]) -> Answer {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| Column::new(column.as_ref(), Zone::UTC).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let mut text = String::new();
            for (position, column) in columns.iter().enumerate() {
                if position > 0 {
                    text.push('|');
                }
                column.append(row, "NULL", &mut text);
            }
            rows.push(text + "\n");
        }
    }
    rows.sort();
    Answer { rows: rows.len(), crc32: crc32fast::hash(rows.concat().as_bytes()) }
}

/// Runs a query there; an error as text.
async fn run(place: Place, mode: &str, events: &Events, name: &str) -> Result<Answer, String> {
    let options: Options = [("execution.runtime-mode", mode)].into_iter().collect();
    let mut client = place.client_with(options).await;
    client.sql(&events.tables().unwrap()).await.unwrap();
    let (before, query) = events.query(name).unwrap();
    let ran = async {
        client.sql(&before).await?;
        client.sql(&query).await
    };
    ran.await.map(|batches| answer(&batches)).map_err(|error| format!("{error:#}"))
}

async fn check(place: Place, mode: &str) {
    let folder = TempDir::new().unwrap();
    let (events, answers) = (events(&folder), answers());
    events.write_side_table().unwrap();
    let mut failures = Vec::new();
    for query in queries() {
        match run(place, mode, &events, &query).await {
            Err(error) => failures.push(format!("{query}: {error}")),
            Ok(found) if BY_THE_CLOCK.contains(&query.as_str()) => {
                if found.rows == 0 {
                    failures.push(format!("{query} gave no rows"));
                }
            }
            Ok(found) => {
                let expected = &answers[&query];
                if found != *expected {
                    failures.push(format!("{query}: {found:?} instead of {expected:?}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{place}, {mode}:\n{}", failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_embedded() {
    check(Place::Embedded(1), "BATCH").await;
    check(Place::Embedded(4), "BATCH").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_on_processes() {
    check(Place::Cluster(4, Exchange::Pipelined), "BATCH").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_embedded() {
    check(Place::Embedded(1), "STREAMING").await;
    check(Place::Embedded(4), "STREAMING").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_on_processes() {
    check(Place::Cluster(4, Exchange::Pipelined), "STREAMING").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_an_end_is_no_batch() {
    let folder = TempDir::new().unwrap();
    let events = Events { count: 0, ..events(&folder) };
    let error = run(Place::Embedded(1), "BATCH", &events, "q0").await.unwrap_err();
    assert!(
        error.contains("table `default_catalog.default_database.events` does not end")
            && error.contains("`execution.runtime-mode` is `BATCH`"),
        "{error}"
    );
}

/// What a query says of its own plan.
async fn explained(mode: &str, sql: &str) -> String {
    let folder = TempDir::new().unwrap();
    let options: Options = [("execution.runtime-mode", mode)].into_iter().collect();
    let mut client = Place::Embedded(2).client_with(options).await;
    client.sql(&events(&folder).tables().unwrap()).await.unwrap();
    let rows = client.sql(&format!("EXPLAIN {sql}")).await.unwrap();
    arrow::util::display::array_value_to_string(rows[0].column(0), 0).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_fields_that_a_query_reads_are_made() {
    for mode in ["BATCH", "STREAMING"] {
        let text = explained(mode, "SELECT auction, price FROM bid WHERE price > 7").await;
        let time = if mode == "BATCH" { "" } else { "dateTime, " };
        assert!(text.contains(&format!("columns=[bid(auction, {time}price)]")), "{mode}: {text}");
    }
    let whole = explained("BATCH", "SELECT bid, person.id FROM events").await;
    assert!(whole.contains("columns=[person(id), bid]"), "{whole}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_keeps_only_what_its_condition_and_the_query_above_read() {
    let folder = TempDir::new().unwrap();
    let (_, query) = events(&folder).query("q4").unwrap();
    let text = explained("STREAMING", &query).await;
    for kept in ["(category, dateTime, expires, id)", "(auction, dateTime, price)"] {
        assert!(text.contains(kept), "{text}");
    }
    let into_the_join = [
        "get_field(auction@0, id) as id, dateTime@1 as dateTime, get_field(auction@0, expires) as expires, get_field(auction@0, category) as category]",
        "expr=[get_field(bid@0, auction) as auction, get_field(bid@0, price) as price, dateTime@1 as dateTime]",
    ];
    for columns in into_the_join {
        assert!(text.contains(columns), "{text}");
    }
}
