//! A folder that is watched, through windows, into partitions of Parquet, while workers are killed: what is left is compared, row by row, with what the
//! same query gives as a batch, and is in few files, each partition marked as complete, with nothing beside them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use thalweg::{Client, Execution};
use thalweg_graph::{JobId, Options, checkpoint::Manifest};
use thalweg_plan::Session;

use crate::{
    processes::{Cluster, ClusterConfig},
    stream_drill::{compare, counted},
    web_hdfs::WebHdfs,
};

/// Workers of the cluster. Two of them have the slots that the job needs.
pub const WORKERS: usize = 3;
/// Slots of each worker.
pub const SLOTS: u32 = 1;
const PARALLELISM: usize = 2;
/// Rows of a file, and the seconds of event time that they cover.
const ROWS: u32 = 500;
const SECONDS: u32 = 5;
/// Files that are not read yet. Together they are younger than the watermark is behind, so that no row is late.
const UNREAD_MAX: u32 = 10;
/// Time for whatever is waited for.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What to do.
#[derive(Debug, Clone)]
pub struct FolderDrill {
    /// How many files come.
    pub files: u32,
    /// How many workers are killed meanwhile.
    pub kills: usize,
    /// Where the random moments come from.
    pub seed: u64,
    /// Where the folders are.
    pub place: Place,
}

/// A file system, and the folder in it that has all others.
#[derive(Debug, Clone)]
pub enum Place {
    /// This machine's.
    Local(PathBuf),
    /// HDFS: a client, and the folder as a path and as a URL.
    Hdfs(WebHdfs, String, String),
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Rows that were left, all of them right.
    pub rows: usize,
    /// Files that they are in.
    pub files: usize,
    /// Partitions of the table.
    pub partitions: usize,
    /// Those of them that were complete before the job was told to end.
    pub complete_early: usize,
    /// How often the job started again.
    pub restarts: u64,
}

impl Place {
    /// The URL of a folder in it.
    pub(crate) fn url(&self, name: &str) -> String {
        match self {
            Place::Local(folder) => format!("file://{}/{name}", folder.display()),
            Place::Hdfs(_, _, url) => format!("{url}/{name}"),
        }
    }

    /// Puts a file into a folder; it appears whole.
    async fn put(&self, folder: &str, name: &str, bytes: Vec<u8>) -> Result<()> {
        match self {
            Place::Local(base) => {
                let folder = base.join(folder);
                fs::create_dir_all(&folder)?;
                let hidden = folder.join(format!(".{name}"));
                fs::write(&hidden, bytes)?;
                Ok(fs::rename(hidden, folder.join(name))?)
            }
            Place::Hdfs(client, base, _) => {
                let hidden = format!("{base}/{folder}/.{name}");
                client.put(&hidden, bytes).await?;
                client.rename(&hidden, &format!("{base}/{folder}/{name}")).await
            }
        }
    }

    /// Paths of all files below a folder.
    pub(crate) async fn files(&self, folder: &str) -> Result<Vec<String>> {
        match self {
            Place::Local(base) => {
                let base = base.join(folder);
                let mut files = Vec::new();
                below(&base, &base, &mut files)?;
                Ok(files)
            }
            Place::Hdfs(client, base, _) => {
                let files = client.files(&format!("{base}/{folder}")).await?;
                Ok(files.into_iter().map(|file| file.path).collect())
            }
        }
    }

    async fn read(&self, path: &str) -> Result<Vec<u8>> {
        match self {
            Place::Local(base) => Ok(fs::read(base.join(path))?),
            Place::Hdfs(client, base, _) => client.get(&format!("{base}/{path}")).await,
        }
    }
}

fn below(base: &Path, folder: &Path, files: &mut Vec<String>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        match path.is_dir() {
            true => below(base, &path, files)?,
            false => files.push(path.strip_prefix(base)?.display().to_string()),
        }
    }
    Ok(())
}

/// Runs it.
pub async fn run(mut config: ClusterConfig, drill: FolderDrill) -> Result<Outcome> {
    let checkpoints = drill.place.url("checkpoints");
    for (name, value) in [
        ("execution.checkpointing.interval", "100 ms"),
        ("execution.checkpointing.dir", checkpoints.as_str()),
        ("restart-strategy.exponential-delay.initial-backoff", "50 ms"),
    ] {
        config.options.0.insert(name.to_owned(), value.to_owned());
    }
    let cluster = Cluster::start(config).await?;
    let described = format!("seed {}", drill.seed);
    let ran = Running { cluster, drill }.run().await;
    ran.context(described)
}

struct Running {
    cluster: Cluster,
    drill: FolderDrill,
}

const QUERY: &str = "SELECT window_end, k, COUNT(*) AS n, SUM(v) AS s, \
                     DATE_FORMAT(window_end, 'yyyy-MM-dd HH:mm') AS part \
                     FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '10' SECOND)) \
                     GROUP BY window_start, window_end, k";

impl Running {
    async fn run(self) -> Result<Outcome> {
        let result = self.try_run().await;
        result.with_context(|| self.cluster.logs())
    }

    async fn try_run(&self) -> Result<Outcome> {
        let place = &self.drill.place;
        let mut client = self.client("STREAMING", "'source.monitor-interval' = '50 ms',").await?;
        let job = self.insert(&mut client).await?;
        let mut random = StdRng::seed_from_u64(self.drill.seed);
        let mut kills: Vec<u32> =
            (0..self.drill.kills).map(|_| random.random_range(0..self.drill.files)).collect();
        kills.sort_unstable();
        for number in 0..self.drill.files {
            self.until_read(job, (number + 1).saturating_sub(UNREAD_MAX)).await?;
            place.put("in", &format!("{number:05}.csv"), content(number).into()).await?;
            while kills.first().is_some_and(|at| *at <= number) {
                kills.remove(0);
                let worker = random.random_range(0..WORKERS);
                self.cluster.kill_worker(worker);
                self.cluster.replace_worker(worker).await?;
            }
        }
        self.until_read(job, self.drill.files).await?;
        let complete_early = completed(&place.files("out").await?).len();
        self.drain(job).await?;
        tokio::time::timeout(PATIENCE, client.wait(job)).await.context("the job did not end")??;
        let details = self.cluster.get(&format!("/v1/jobs/{job}")).await?;
        self.until_removed("checkpoints").await?;
        let (files, partitions) = check_folder(&place.files("out").await?)?;
        let mut client = self.client("BATCH", "").await?;
        let expected = counted(&client.sql(QUERY).await?)?;
        let found = counted(&client.sql("SELECT window_end, k, n, s, part FROM windows").await?)?;
        compare(&expected, &found)?;
        let restarts = details["restarts"].as_u64().unwrap_or_default();
        Ok(Outcome { rows: expected.len(), files, partitions, complete_early, restarts })
    }

    async fn client(&self, mode: &str, watched: &str) -> Result<Client> {
        let options: Options = [
            ("parallelism.default", PARALLELISM.to_string()),
            ("execution.runtime-mode", mode.to_owned()),
            ("execution.checkpointing.savepoint-dir", self.drill.place.url("savepoints")),
        ]
        .into_iter()
        .collect();
        let mut client = Client::remote(&self.cluster.address, options).await?;
        let tables = format!(
            "CREATE TABLE events (id BIGINT, k BIGINT, v BIGINT, ts TIMESTAMP(3), \
               WATERMARK FOR ts AS ts - INTERVAL '2' MINUTE) \
             WITH ('connector' = 'filesystem', 'format' = 'csv', {watched} 'path' = '{}'); \
             CREATE TABLE windows (window_end TIMESTAMP(3), k BIGINT, n BIGINT, s BIGINT, part STRING) \
             PARTITIONED BY (part) \
             WITH ('connector' = 'filesystem', 'format' = 'parquet', 'path' = '{}', \
               'sink.partition-commit.policy.kind' = 'success-file', \
               'sink.partition-commit.trigger' = 'partition-time', 'sink.partition-commit.delay' = '1 min', \
               'partition.time-extractor.timestamp-pattern' = '$part:00')",
            self.drill.place.url("in"),
            self.drill.place.url("out"),
        );
        client.sql(&tables).await?;
        Ok(client)
    }

    async fn insert(&self, client: &mut Client) -> Result<JobId> {
        let statement = Session::parse(&format!("INSERT INTO windows {QUERY}"))?;
        let statement = statement.into_iter().next().context("there is a statement")?;
        match client.execute(&statement).await? {
            Execution::Job { job, .. } => Ok(job),
            _ => bail!("the INSERT made no job"),
        }
    }

    /// Waits until so many files are read, as the newest checkpoint has it.
    async fn until_read(&self, job: JobId, count: u32) -> Result<()> {
        let start = Instant::now();
        while count > 0 && self.files_read(job).await? < count {
            let status = self.cluster.get(&format!("/v1/jobs/{job}/status")).await?["status"].clone();
            ensure!(
                status != "FAILED" && start.elapsed() < PATIENCE,
                "{count} files were not read; the job is {status}"
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Waits until a folder has no files.
    async fn until_removed(&self, folder: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let left = self.drill.place.files(folder).await?;
            if left.is_empty() {
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "{left:?} were left behind");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn files_read(&self, job: JobId) -> Result<u32> {
        let files = self.drill.place.files("checkpoints").await.unwrap_or_default();
        let number = |path: &String| {
            let folder = path.strip_suffix("/_metadata")?.strip_prefix(&format!("{job}/chk-"))?;
            folder.parse::<u64>().ok()
        };
        let Some(newest) = files.iter().filter_map(number).max() else { return Ok(0) };
        let path = format!("checkpoints/{job}/chk-{newest}/_metadata");
        // It may have made room for the next one meanwhile.
        let Ok(text) = self.drill.place.read(&path).await else { return Ok(0) };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else { return Ok(0) };
        let sources = manifest.subtasks.iter().filter_map(|(_, subtask)| subtask.source.as_ref());
        let done = sources.flat_map(|source| &source.positions).map(|split| {
            let count = split.position.get(2..6).and_then(|bytes| bytes.try_into().ok());
            count.map_or(0, u32::from_le_bytes)
        });
        Ok(done.sum())
    }

    /// Has the job end behind a savepoint, when all windows are out.
    async fn drain(&self, job: JobId) -> Result<()> {
        let http = reqwest::Client::new();
        let url = self.cluster.url(&format!("/v1/jobs/{job}/stop"));
        let answer: Value = http.post(url).json(&json!({ "drain": true })).send().await?.json().await?;
        ensure!(answer["request-id"].is_string(), "{answer}");
        Ok(())
    }
}

/// The rows of a file.
fn content(number: u32) -> String {
    let mut text = String::new();
    for row in 0..ROWS {
        let id = number * ROWS + row;
        let ms = u64::from(number * SECONDS) * 1000 + u64::from(row * SECONDS * 1000 / ROWS);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        let (key, value) = (id % 10, id.wrapping_mul(2_654_435_761) % 1000);
        let _ = writeln!(
            text,
            "{id},{key},{value},2026-01-01 {hour:02}:{minute:02}:{second:02}.{:03}",
            ms % 1000
        );
    }
    text
}

/// The partitions that are marked as complete.
fn completed(files: &[String]) -> Vec<&str> {
    files.iter().filter_map(|file| file.strip_suffix("/_SUCCESS")).collect()
}

/// Few files in each partition, each partition complete, and nothing else; counts both.
fn check_folder(files: &[String]) -> Result<(usize, usize)> {
    let mut by_partition = BTreeMap::<&str, usize>::new();
    for file in files {
        let (partition, name) = file.split_once('/').unwrap_or(("", file));
        let is_data = name.ends_with(".parquet") && !name.contains('/');
        ensure!(
            partition.starts_with("part=") && (is_data || name == "_SUCCESS"),
            "`{file}` was left behind"
        );
        *by_partition.entry(partition).or_default() += usize::from(is_data);
    }
    let complete = completed(files);
    for (partition, count) in &by_partition {
        ensure!(complete.contains(partition), "`{partition}` is not complete");
        ensure!((1..=PARALLELISM).contains(count), "`{partition}` has {count} files");
    }
    Ok((by_partition.values().sum(), by_partition.len()))
}
