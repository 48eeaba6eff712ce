//! The jobs: a stream that takes its time, and batches one after the other, each into a table of its own; and what they must leave.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use thalweg::{Client, Execution, client::ended};
use thalweg_graph::{JobId, Options};
use thalweg_plan::Session;

use super::place::Place;
use crate::{
    folder_drill,
    stream_drill::{Counted, QUERY, compare, counted, create_source},
};

/// Subtasks of the stream's vertices: more than a worker has slots, so that rows are exchanged between workers.
const STREAM_PARALLELISM: u64 = 4;
/// Those of the batches'.
const BATCH_PARALLELISM: u64 = 2;
/// Rows of the stream that each subtask of its source gives in a second.
const ROWS_PER_SECOND: u64 = 5_000;
/// Rows of each batch.
const BATCH_ROWS: u64 = 400_000;
/// Time for a job to recover and end, beside what a stream takes undisturbed.
const JOB_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for what a job has put aside to be removed: workers that were cut off hear late that they are to.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);

const BATCH_QUERY: &str = "SELECT k, COUNT(*) AS n, SUM(v) AS s FROM numbers GROUP BY k";

/// What the jobs are, and their answers.
pub struct Workload {
    stream_time: Duration,
    stream_rows: u64,
    stream: Counted,
    batch: Counted,
}

/// How a job has ended well.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// How long it took.
    pub time: Duration,
    /// How often parts of it started again.
    pub restarts: u32,
}

impl Workload {
    /// A stream that runs for so long, undisturbed; asks an engine in this process for the answers.
    pub async fn prepare(time: Duration) -> Result<Self> {
        let stream_rows = STREAM_PARALLELISM * ROWS_PER_SECOND * time.as_secs();
        let mut client = Client::embedded(Options::default()).await?;
        client.sql(&sources(stream_rows)).await?;
        let stream = counted(&client.sql(QUERY).await?)?;
        let batch = counted(&client.sql(BATCH_QUERY).await?)?;
        Ok(Self { stream_time: time, stream_rows, stream, batch })
    }

    /// Submits the stream.
    pub async fn start_stream(&self, place: &Place, table: &str) -> Result<Job> {
        let (parallelism, rate) = (STREAM_PARALLELISM.to_string(), ROWS_PER_SECOND.to_string());
        let options = [
            ("execution.runtime-mode", "STREAMING"),
            ("parallelism.default", &parallelism),
            ("table.exec.source.rows-per-second", &rate),
        ];
        let columns = "window_end TIMESTAMP(3), k BIGINT, n BIGINT, s BIGINT";
        self.start(place, &options, &create_sink(&place.files, table, columns), table, QUERY).await
    }

    /// Runs batches until it is told to stop, at least one, and checks what they leave; how each ended.
    pub async fn batches(&self, place: &Place, name: &str, stop: &AtomicBool) -> Result<Vec<Ended>> {
        let mut all = Vec::new();
        while all.is_empty() || !stop.load(Relaxed) {
            let exchange = ["ALL_EXCHANGES_PIPELINED", "ALL_EXCHANGES_BLOCKING"][all.len() % 2];
            let parallelism = BATCH_PARALLELISM.to_string();
            let options = [
                ("execution.runtime-mode", "BATCH"),
                ("parallelism.default", &parallelism),
                ("execution.batch-shuffle-mode", exchange),
            ];
            let table = format!("{name}_{}", all.len());
            let create = create_sink(&place.files, &table, "k BIGINT, n BIGINT, s BIGINT");
            let ended = async {
                let job = self.start(place, &options, &create, &table, BATCH_QUERY).await?;
                let ended = job.wait().await?;
                check(&place.files, &create, &table, "k, n, s", &self.batch).await?;
                Ok::<_, anyhow::Error>(ended)
            };
            all.push(ended.await.with_context(|| format!("batch {table}, {exchange}"))?);
        }
        Ok(all)
    }

    /// Checks what the stream has left.
    pub async fn check_stream(&self, place: &Place, table: &str) -> Result<usize> {
        let columns = "window_end TIMESTAMP(3), k BIGINT, n BIGINT, s BIGINT";
        let create = create_sink(&place.files, table, columns);
        check(&place.files, &create, table, "window_end, k, n, s", &self.stream).await?;
        Ok(self.stream.len())
    }

    async fn start(
        &self,
        place: &Place,
        options: &[(&str, &str)],
        create: &str,
        table: &str,
        query: &str,
    ) -> Result<Job> {
        let start = Instant::now();
        let options = place.options(options);
        let mut client = Client::remote(&place.cluster.address, options).await?;
        client.sql(&sources(self.stream_rows)).await?;
        client.sql(create).await?;
        let insert = format!("INSERT INTO {table} {query}");
        let statement = Session::parse(&insert)?.into_iter().next().context("there is a statement")?;
        let Execution::Job { job, .. } = client.execute(&statement).await? else {
            bail!("`{insert}` made no job")
        };
        Ok(Job { job, client, start, time_max: self.stream_time + JOB_TIMEOUT })
    }
}

/// A job that was submitted.
pub struct Job {
    /// Its id.
    pub job: JobId,
    client: Client,
    start: Instant,
    time_max: Duration,
}

impl Job {
    /// Waits until it has finished, in time.
    pub async fn wait(self) -> Result<Ended> {
        let waiting = async {
            let mut progress = self.client.jobs().watch(self.job).await?;
            let (mut restarts, mut last) = (0, None);
            while let Some(now) = progress.next().await {
                let now = now?;
                restarts = restarts.max(now.restarts);
                last = Some(now);
            }
            let last = last.context("nothing was told of the job")?;
            ended(self.job, last.status, last.failure.clone())?;
            Ok(Ended { time: self.start.elapsed(), restarts })
        };
        let waiting = tokio::time::timeout(self.time_max, waiting).await;
        waiting.with_context(|| format!("the job did not end in {} s", self.time_max.as_secs()))?
    }
}

fn sources(stream_rows: u64) -> String {
    format!(
        "{}; CREATE TABLE numbers (k BIGINT, v BIGINT) WITH ('connector' = 'datagen', \
           'number-of-rows' = '{BATCH_ROWS}', 'fields.k.min' = '0', 'fields.k.max' = '999', \
           'fields.v.min' = '1', 'fields.v.max' = '1000')",
        create_source(stream_rows)
    )
}

fn create_sink(files: &folder_drill::Place, table: &str, columns: &str) -> String {
    format!(
        "CREATE TABLE {table} ({columns}) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'parquet', \
           'sink.rolling-policy.rollover-interval' = '1 ms')",
        files.url(table)
    )
}

/// A table has its rows, its files and nothing else. It is read here, whatever happens to the cluster.
async fn check(
    files: &folder_drill::Place,
    create: &str,
    table: &str,
    columns: &str,
    expected: &Counted,
) -> Result<()> {
    let mut client = Client::embedded(Options::default()).await?;
    client.sql(create).await?;
    let found = counted(&client.sql(&format!("SELECT {columns} FROM {table}")).await?)?;
    compare(expected, &found).with_context(|| format!("table {table}"))?;
    until_only(files, table, |file| file.ends_with(".parquet") && !file.contains('/')).await
}

/// Waits until a folder has no files but those that are wanted.
pub async fn until_only(
    files: &folder_drill::Place,
    folder: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<()> {
    let start = Instant::now();
    loop {
        let there = files.files(folder).await?;
        let left: Vec<&String> = there.iter().filter(|file| !is_wanted(file)).collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(start.elapsed() < REMOVAL_TIMEOUT, "{left:?} were left behind in `{folder}`");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
