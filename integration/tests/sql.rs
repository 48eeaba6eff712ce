//! Runs `integration/sql/**/*.slt`: each file embedded at parallelism 1 and 4, and on worker processes with pipelined and with
//! blocking exchange. One expected answer, four ways to be wrong. Those below `window`, `updating` and `join` run as bounded streams as well.
//!
//! `$__TEST_DIR__` in a file is a folder of its own. Strings print as they are, NULL as `NULL`, an empty string as `(empty)`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use thalweg::{Client, Execution, output::cell::Column};
use thalweg_graph::Options;
use thalweg_plan::{Session, functions::zone::Zone};

use crate::place::{Exchange, Place};

/// A session that sqllogictest drives.
struct Database {
    client: Client,
}

/// An error, as a client shows it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SqlFailure(String);

#[async_trait]
impl AsyncDB for Database {
    type Error = SqlFailure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, SqlFailure> {
        self.run_last(sql).await.map_err(|error| SqlFailure(format!("{error:#}")))
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "thalweg"
    }
}

impl Database {
    async fn run_last(&mut self, sql: &str) -> anyhow::Result<DBOutput<DefaultColumnType>> {
        let mut output = DBOutput::StatementComplete(0);
        for statement in Session::parse(sql)? {
            output = match self.client.execute(&statement).await? {
                Execution::Listing { batches, .. } => rows(&batches)?,
                Execution::Job { job, is_query } => {
                    self.client.wait(job).await?;
                    match is_query {
                        true => rows(&self.client.rows(job).await?.collect().await?)?,
                        false => DBOutput::StatementComplete(0),
                    }
                }
                _ => DBOutput::StatementComplete(0),
            };
        }
        Ok(output)
    }
}

fn rows(batches: &[arrow::array::RecordBatch]) -> anyhow::Result<DBOutput<DefaultColumnType>> {
    let mut rows = Vec::new();
    let columns = batches.first().map_or(0, |batch| batch.num_columns());
    for batch in batches {
        let formatters: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| Column::new(column.as_ref(), Zone::UTC))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let cell = |column: &Column<'_>| {
                let mut text = String::new();
                column.append(row, "NULL", &mut text);
                if text.is_empty() { "(empty)".to_owned() } else { text }
            };
            rows.push(formatters.iter().map(cell).collect());
        }
    }
    Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows })
}

async fn run_all(place: Place) {
    run_folders(place, &["sql"], "BATCH").await;
}

/// The files that hold for streams too.
async fn run_streams(place: Place) {
    run_folders(place, &["sql/window", "sql/updating", "sql/join"], "STREAMING").await;
}

async fn run_folders(place: Place, folders: &[&str], mode: &str) {
    let mut files = Vec::new();
    folders.iter().for_each(|folder| find(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files));
    files.sort();
    assert!(!files.is_empty(), "there are no .slt files");
    let mut failures = Vec::new();
    for file in &files {
        let options: Options = [("execution.runtime-mode", mode)].into_iter().collect();
        let mut runner =
            Runner::new(|| async { Ok(Database { client: place.client_with(options.clone()).await }) });
        runner.with_column_validator(|_, _| true);
        if let Err(error) = runner.run_file_async(file).await {
            failures.push(format!("{}:\n{error}", file.display()));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} files failed ({place}, {mode}):\n{}",
        failures.len(),
        files.len(),
        failures.join("\n")
    );
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            files.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_with_parallelism_1() {
    run_all(Place::Embedded(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_with_parallelism_4() {
    run_all(Place::Embedded(4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_processes_pipelined() {
    run_all(Place::Cluster(4, Exchange::Pipelined)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_processes_blocking() {
    run_all(Place::Cluster(4, Exchange::Blocking)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_embedded_with_parallelism_1() {
    run_streams(Place::Embedded(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_embedded_with_parallelism_4() {
    run_streams(Place::Embedded(4)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_on_processes() {
    run_streams(Place::Cluster(4, Exchange::Pipelined)).await;
}
