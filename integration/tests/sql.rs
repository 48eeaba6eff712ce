//! Runs `integration/sql/**/*.slt`: each file embedded at parallelism 1 and 4, and on worker processes with pipelined and with
//! blocking exchange. One expected answer, four ways to be wrong. Those below `window`, `updating` and `join` run as bounded streams as well, and
//! once more as streams that are stopped at random barriers and go on from there at another parallelism and with another state backend, and
//! once as streams whose workers are killed.
//!
//! `$__TEST_DIR__` in a file is a folder of its own. Strings print as they are, NULL as `NULL`, an empty string as `(empty)`.

mod crashes;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::bail;
use arrow::array::RecordBatch;
use async_trait::async_trait;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tempfile::TempDir;
use thalweg::{Client, Execution, output::cell::Column};
use thalweg_graph::{JobId, Options};
use thalweg_plan::{Session, Statement, functions::zone::Zone};
use tokio::time::{Duration, sleep};

use self::crashes::{Crashes, RandomCrashes};
use crate::place::{Exchange, Place};

/// A session that sqllogictest drives.
struct Database {
    client: Client,
    disturbance: Disturbance,
}

/// What happens to streams on their way.
enum Disturbance {
    None,
    Stops(Stops),
    Crashes(RandomCrashes),
}

/// Streams are stopped at random barriers.
struct Stops {
    random: StdRng,
    folder: TempDir,
    /// How many barriers have come before the end of a stream.
    count: Arc<AtomicUsize>,
}

/// Rows that a source gives in a second, so that barriers come between them.
const ROWS_PER_SECOND: u64 = 100;
/// A stream is not stopped more often.
const STOPS_MAX: usize = 3;
/// The largest parallelism at which one goes on.
const STOPPED_PARALLELISM_MAX: u32 = 4;
/// The longest time until a stream is stopped.
const STOP_AFTER_MS_MAX: u64 = 60;

impl Stops {
    fn new(seed: u64, count: &Arc<AtomicUsize>) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        Self { random: StdRng::seed_from_u64(seed), folder, count: Arc::clone(count) }
    }

    fn options(&self) -> Options {
        let savepoints = format!("file://{}", self.folder.path().display());
        let rate = ROWS_PER_SECOND.to_string();
        [
            ("execution.checkpointing.savepoint-dir", savepoints.as_str()),
            ("table.exec.source.rows-per-second", rate.as_str()),
        ]
        .into_iter()
        .collect()
    }
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
                    let mut batches = Vec::new();
                    let job = self.stopped_and_gone_on_with(&statement, job, is_query, &mut batches).await?;
                    match &mut self.disturbance {
                        Disturbance::Crashes(crashes) => crashes.through(&self.client, job).await?,
                        Disturbance::None | Disturbance::Stops(_) => self.client.wait(job).await?,
                    }
                    match is_query {
                        true => {
                            batches.extend(self.client.rows(job).await?.collect().await?);
                            rows(&batches)?
                        }
                        false => DBOutput::StatementComplete(0),
                    }
                }
                _ => DBOutput::StatementComplete(0),
            };
        }
        Ok(output)
    }
}

impl Database {
    /// Stops a job at random barriers, each time to go on from there as another one at another parallelism and with another state backend;
    /// the last of them. What they have answered until then is added to `answered`.
    async fn stopped_and_gone_on_with(
        &mut self,
        statement: &Statement,
        mut job: JobId,
        is_query: bool,
        answered: &mut Vec<RecordBatch>,
    ) -> anyhow::Result<JobId> {
        for _ in 0..STOPS_MAX {
            let Disturbance::Stops(stops) = &mut self.disturbance else { break };
            sleep(Duration::from_millis(stops.random.random_range(0..STOP_AFTER_MS_MAX))).await;
            let jobs = self.client.jobs();
            // One that has ended in the meantime, or is no stream, has no savepoint.
            let Ok(savepoint) = jobs.stop_with_savepoint(job, false).await else { break };
            stops.count.fetch_add(1, Ordering::Relaxed);
            let parallelism = stops.random.random_range(1..=STOPPED_PARALLELISM_MAX);
            let backend = if stops.random.random() { "lsm" } else { "memory" };
            self.client.wait(job).await?;
            if is_query {
                answered.extend(self.client.rows(job).await?.collect().await?);
            }
            self.set("execution.state-recovery.path", &savepoint).await?;
            self.set("parallelism.default", &parallelism.to_string()).await?;
            self.set("state.backend.type", backend).await?;
            let gone_on = self.client.execute(statement).await?;
            self.set("execution.state-recovery.path", "").await?;
            let Execution::Job { job: next, .. } = gone_on else { bail!("no job goes on from {savepoint}") };
            job = next;
        }
        Ok(job)
    }

    async fn set(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        self.client.sql(&format!("SET '{key}' = '{value}'")).await?;
        Ok(())
    }
}

fn rows(batches: &[RecordBatch]) -> anyhow::Result<DBOutput<DefaultColumnType>> {
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

/// Where files run, and what happens to their streams.
enum Run {
    Undisturbed(Place),
    /// Each stream is stopped at random barriers; the number counts them.
    Stopped(Place, u64, Arc<AtomicUsize>),
    /// A worker is killed on the way of each stream.
    Crashed(Arc<Crashes>, u64),
}

impl Run {
    async fn database(&self, options: &Options) -> Database {
        match self {
            Run::Undisturbed(place) => {
                let client = place.client_with(options.clone()).await;
                Database { client, disturbance: Disturbance::None }
            }
            Run::Stopped(place, seed, count) => {
                let stops = Stops::new(*seed, count);
                let client = place.client_with(options.overridden_by(&stops.options())).await;
                Database { client, disturbance: Disturbance::Stops(stops) }
            }
            Run::Crashed(crashes, seed) => {
                let (client, crashes) = crashes.client(options, *seed).await;
                Database { client, disturbance: Disturbance::Crashes(crashes) }
            }
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Run::Undisturbed(place) => place.fmt(f),
            Run::Stopped(place, seed, _) => write!(f, "stopped, {place}, seed {seed}"),
            Run::Crashed(_, seed) => write!(f, "crashed, seed {seed}"),
        }
    }
}

async fn run_all(place: Place) {
    run_folders(&Run::Undisturbed(place), &["sql"], [("execution.runtime-mode", "BATCH")]).await;
}

/// The files that hold for streams too.
async fn run_streams(place: Place) {
    run_folders(&Run::Undisturbed(place), STREAMS, [STREAMING]).await;
}

/// The same, with state on the disk, and with a table for late rows: that makes other plans, whose rows are whole.
async fn run_streams_on_disk(place: Place) {
    let options = [STREAMING, ("state.backend.type", "lsm"), ("table.exec.late-rows.table", LATE_TABLE)];
    run_folders(&Run::Undisturbed(place), STREAMS, options).await;
}

/// The same, with rows that are gathered before they are aggregated.
async fn run_streams_in_mini_batches(place: Place) {
    let options = [STREAMING, ("table.exec.mini-batch.enabled", "true")];
    run_folders(&Run::Undisturbed(place), STREAMS, options).await;
}

/// The same, each stopped at random barriers.
async fn run_stopped_streams(place: Place) {
    let stopped = Arc::new(AtomicUsize::new(0));
    run_folders(&Run::Stopped(place, rand::random(), Arc::clone(&stopped)), STREAMS, [STREAMING]).await;
    let stopped = stopped.load(Ordering::Relaxed);
    assert!(stopped > STOPPED_MIN, "only {stopped} barriers came before the end of their stream");
}

/// The same, each with a worker that is killed behind a random checkpoint.
async fn run_crashed_streams() {
    let crashes = Crashes::start().await;
    run_folders(&Run::Crashed(Arc::clone(&crashes), rand::random()), STREAMS, [STREAMING]).await;
    let restored = crashes.restored.load(Ordering::Relaxed);
    assert!(restored > RESTORED_MIN, "only {restored} streams went on from a checkpoint");
}

const STREAMING: (&str, &str) = ("execution.runtime-mode", "STREAMING");
/// A table that late rows go into, and what makes it.
const LATE_TABLE: &str = "late_rows";
const CREATE_LATE_TABLE: &str = "CREATE TEMPORARY TABLE late_rows (operator STRING, event_time TIMESTAMP(3), \
    watermark_time TIMESTAMP(3), content STRING) WITH ('connector' = 'blackhole')";
const STREAMS: &[&str] = &["sql/window", "sql/updating", "sql/join"];
/// Fewer would mean that hardly any stream is stopped.
const STOPPED_MIN: usize = 100;
/// Fewer would mean that hardly any stream crashes and goes on.
const RESTORED_MIN: usize = 30;

/// Runs files.
async fn run_folders<const N: usize>(run: &Run, folders: &[&str], options: [(&str, &str); N]) {
    let options: Options = options.into_iter().collect();
    let mut files = Vec::new();
    folders.iter().for_each(|folder| find(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files));
    files.sort();
    assert!(!files.is_empty(), "there are no .slt files");
    let mut failures = Vec::new();
    for file in &files {
        let mut runner = Runner::new(|| async {
            let mut database = run.database(&options).await;
            if options.0.contains_key("table.exec.late-rows.table") {
                database.client.sql(CREATE_LATE_TABLE).await.expect("the table can be created");
            }
            Ok(database)
        });
        runner.with_column_validator(|_, _| true);
        if let Err(error) = runner.run_file_async(file).await {
            failures.push(format!("{}:\n{error}", file.display()));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} files failed ({run}, {options:?}):\n{}",
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
async fn streams_with_state_on_disk() {
    run_streams_on_disk(Place::Embedded(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_in_mini_batches() {
    run_streams_in_mini_batches(Place::Embedded(3)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_stopped_at_random_barriers() {
    run_stopped_streams(Place::Embedded(STOPPED_PARALLELISM_MAX)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_whose_workers_are_killed() {
    run_crashed_streams().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_on_processes() {
    run_streams(Place::Cluster(4, Exchange::Pipelined)).await;
}
