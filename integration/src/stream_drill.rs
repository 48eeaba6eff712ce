//! Kills workers at random moments of a stream that takes checkpoints and compares what it leaves, row by row, with what the same
//! query gives as a batch: nothing lost, nothing doubled, no file left behind.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use arrow::{
    array::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use thalweg::{Client, Execution};
use thalweg_graph::{JobId, Options};
use thalweg_plan::Session;

use crate::processes::{Cluster, ClusterConfig};

/// Workers of the cluster. Two of them have the slots that the job needs.
pub const WORKERS: usize = 3;
/// Slots of each worker.
pub const SLOTS: u32 = 1;
const PARALLELISM: u32 = 2;
/// Pause between two looks at what is to be seen of the output.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Time for a job to recover and end.
const JOB_TIMEOUT: Duration = Duration::from_secs(180);

/// How often the rows of a query may be lost with the leader that had them.
const RESULTS_LOST_MAX: u32 = 3;

/// What to do.
#[derive(Debug, Clone)]
pub struct StreamDrill {
    /// Rows that the source gives.
    pub rows: u64,
    /// How many jobs.
    pub jobs: u32,
    /// How many workers are killed in each, one after the other.
    pub kills: u32,
    /// Where the random moments come from.
    pub seed: u64,
    /// A folder for checkpoints, as a URL that the cluster can reach; one on this machine where none is given.
    pub checkpoints: Option<String>,
}

/// One job and what came of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Disturbed {
    /// When workers were killed, after the submission.
    pub kills_after_ms: Vec<u64>,
    /// How often the job started again.
    pub restarts: u64,
    /// How long the job took in all.
    pub total_ms: u64,
    /// How long it takes undisturbed.
    pub undisturbed_ms: u64,
    /// The longest time in which nothing new was to be seen of its output; `None` where it was all seen at once.
    pub longest_gap_ms: Option<u64>,
    /// Rows that it left, all of them right.
    pub rows: usize,
}

/// Runs a drill; the error says which job it was.
pub async fn run(
    mut config: ClusterConfig,
    drill: StreamDrill,
    mut report: impl FnMut(&Disturbed),
) -> Result<Vec<Disturbed>> {
    let folder = tempfile::Builder::new().prefix("thalweg-stream-drill-").tempdir()?;
    let local = folder.path().join("checkpoints");
    std::fs::create_dir(&local)?;
    let checkpoints = drill.checkpoints.clone().unwrap_or_else(|| format!("file://{}", local.display()));
    configure(&mut config, &checkpoints);
    let undisturbed = Undisturbed::run(config, drill.rows, folder.path()).await?;
    let Undisturbed { cluster, mut target, expected, time: undisturbed, .. } = undisturbed;
    let mut random = StdRng::seed_from_u64(drill.seed);
    let mut outcomes = Vec::new();
    for number in 0..drill.jobs {
        let mut moments: Vec<Duration> =
            (0..drill.kills).map(|_| undisturbed.mul_f64(random.random_range(0.0..1.0))).collect();
        moments.sort();
        let workers: Vec<usize> = moments.iter().map(|_| random.random_range(0..WORKERS)).collect();
        let describe = || format!("seed {}, job {number}: workers {workers:?} at {moments:?}", drill.seed);
        let kill = async |start: Instant| {
            for (moment, worker) in moments.iter().zip(&workers) {
                tokio::time::sleep_until((start + *moment).into()).await;
                cluster.kill_worker(*worker);
                cluster.replace_worker(*worker).await?;
            }
            Ok(())
        };
        let ran = target.stream(&format!("disturbed{number}"), &expected, kill).await;
        let Ran { total, job, longest_gap } = ran.with_context(describe).with_context(|| cluster.logs())?;
        let left: Vec<_> = std::fs::read_dir(&local)?.collect();
        ensure!(left.is_empty(), "{} checkpoints were left behind: {left:?}", describe());
        let details = cluster.get(&format!("/v1/jobs/{job}")).await?;
        let outcome = Disturbed {
            kills_after_ms: moments.iter().map(|moment| moment.as_millis() as u64).collect(),
            restarts: details["restarts"].as_u64().unwrap_or_default(),
            total_ms: total.as_millis() as u64,
            undisturbed_ms: undisturbed.as_millis() as u64,
            longest_gap_ms: longest_gap.map(|gap| gap.as_millis() as u64),
            rows: expected.len(),
        };
        report(&outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Frequent checkpoints into a folder, and quick restarts.
pub(crate) fn configure(config: &mut ClusterConfig, checkpoints: &str) {
    for (name, value) in [
        ("execution.checkpointing.interval", "100 ms"),
        ("execution.checkpointing.dir", checkpoints),
        ("restart-strategy.exponential-delay.initial-backoff", "50 ms"),
    ] {
        config.options.0.insert(name.to_owned(), value.to_owned());
    }
}

async fn client(cluster: &Cluster, rows: u64) -> Result<Client> {
    let options: Options = [("parallelism.default", PARALLELISM.to_string())].into_iter().collect();
    let options = cluster.client_options().overridden_by(&options);
    let mut client = Client::remote(&cluster.address, options).await?;
    client.sql(&create_source(rows)).await?;
    Ok(client)
}

/// Rows of a hundred keys, a thousand a second.
pub(crate) fn create_source(rows: u64) -> String {
    let last = rows - 1;
    format!(
        "CREATE TABLE events (id BIGINT, k BIGINT, v BIGINT, \
           ts AS CAST(TIMESTAMPADD(SECOND, CAST(id / 1000 AS INT), TIMESTAMP '2026-01-01 00:00:00') AS TIMESTAMP(3)), \
           WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) \
         WITH ('connector' = 'datagen', 'number-of-rows' = '{rows}', \
           'fields.id.kind' = 'sequence', 'fields.id.start' = '0', 'fields.id.end' = '{last}', \
           'fields.k.min' = '0', 'fields.k.max' = '99', 'fields.v.min' = '1', 'fields.v.max' = '1000')"
    )
}

/// Windows that slide over several panes, so that state lives across many checkpoints.
pub(crate) const QUERY: &str = "SELECT window_end, k, COUNT(*) AS n, SUM(v) AS s \
                     FROM TABLE(HOP(TABLE events, DESCRIPTOR(ts), INTERVAL '20' SECOND, INTERVAL '60' SECOND)) \
                     GROUP BY window_start, window_end, k";

/// Each row with how often it is there.
pub type Counted = BTreeMap<String, usize>;

/// A cluster on which the stream has run once.
pub(crate) struct Undisturbed {
    /// The cluster.
    pub cluster: Cluster,
    /// The stream, to be run again.
    pub target: Target,
    /// Its rows, as a batch gives them.
    pub expected: Counted,
    /// How long it took.
    pub time: Duration,
    /// The longest time in which nothing new was to be seen of its output; `None` where it was all seen at once.
    pub longest_gap: Option<Duration>,
}

impl Undisturbed {
    /// Starts a cluster and runs the stream on it; its tables lie in a folder.
    pub(crate) async fn run(config: ClusterConfig, rows: u64, folder: &Path) -> Result<Self> {
        let cluster = Cluster::start(config).await?;
        let mut target = Target::new(&cluster, rows, folder).await?;
        let expected = target.batch().await.context("as a batch")?;
        let ran = target.stream("undisturbed", &expected, async |_| Ok(())).await?;
        Ok(Self { cluster, target, expected, time: ran.total, longest_gap: ran.longest_gap })
    }
}

/// One run of the stream.
pub(crate) struct Ran {
    /// How long it took.
    pub total: Duration,
    /// Its job.
    pub job: JobId,
    /// The longest time in which nothing new was to be seen of its output, from the first of it on; `None` where it was all seen at once.
    pub longest_gap: Option<Duration>,
}

/// The stream and its answer.
pub(crate) struct Target {
    client: Client,
    folder: PathBuf,
}

impl Target {
    /// A session whose tables lie in a folder.
    async fn new(cluster: &Cluster, rows: u64, folder: &Path) -> Result<Self> {
        Ok(Self { client: client(cluster, rows).await?, folder: folder.to_owned() })
    }

    /// The answer as a batch.
    async fn batch(&mut self) -> Result<Counted> {
        self.client.sql("SET 'execution.runtime-mode' = 'BATCH'").await?;
        self.rows(QUERY).await
    }

    /// The rows of a query, which is run again where its result went with a leader.
    async fn rows(&mut self, query: &str) -> Result<Counted> {
        let mut tries = 0;
        loop {
            match self.client.sql(query).await {
                Ok(batches) => return counted(&batches),
                Err(error) if tries < RESULTS_LOST_MAX && error.to_string().contains("is gone") => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs the stream into a table, whose rows are seen with their checkpoints, and does something meanwhile; checks the table.
    pub(crate) async fn stream(
        &mut self,
        table: &str,
        expected: &Counted,
        meanwhile: impl AsyncFnOnce(Instant) -> Result<()>,
    ) -> Result<Ran> {
        let path = self.folder.join(table);
        let create = format!(
            "CREATE TABLE {table} (window_end TIMESTAMP(3), k BIGINT, n BIGINT, s BIGINT) \
             WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'parquet', \
                   'sink.rolling-policy.rollover-interval' = '1 ms')",
            path.display()
        );
        self.client.sql(&create).await?;
        self.client.sql("SET 'execution.runtime-mode' = 'STREAMING'").await?;
        let start = Instant::now();
        let insert = format!("INSERT INTO {table} {QUERY}");
        let statement = Session::parse(&insert)?.into_iter().next().context("there is a statement")?;
        let Execution::Job { job, .. } = self.client.execute(&statement).await? else {
            bail!("`{insert}` made no job");
        };
        let ended = tokio::time::timeout(JOB_TIMEOUT, self.client.wait(job));
        let running = async { tokio::join!(ended, meanwhile(start)) };
        let ((ended, meanwhile), longest_gap) = with_longest_gap(&path, running).await;
        meanwhile?;
        ended.with_context(|| format!("the job did not end in {} s", JOB_TIMEOUT.as_secs()))??;
        let total = start.elapsed();
        check_folder(&path)?;
        self.client.sql("SET 'execution.runtime-mode' = 'BATCH'").await?;
        let found = self.rows(&format!("SELECT window_end, k, n, s FROM {table}")).await?;
        compare(expected, &found)?;
        Ok(Ran { total, job, longest_gap })
    }
}

/// Does something, and looks meanwhile how long nothing new is to be seen in a folder; `None` where something was seen there once at the most.
async fn with_longest_gap<T>(folder: &Path, meanwhile: impl Future<Output = T>) -> (T, Option<Duration>) {
    let (mut seen, mut since, mut longest) = (0, Instant::now(), None);
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    let mut meanwhile = std::pin::pin!(meanwhile);
    loop {
        tokio::select! {
            done = &mut meanwhile => return (done, longest),
            _ = looks.tick() => {
                let files = visible(folder);
                if files != seen {
                    if seen > 0 {
                        longest = longest.max(Some(since.elapsed()));
                    }
                    (seen, since) = (files, Instant::now());
                }
            }
        }
    }
}

/// How many files of a folder readers see.
fn visible(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| !name.to_string_lossy().starts_with('.')).count()
}

/// The rows of a result, each with how often it is there.
pub fn counted(batches: &[RecordBatch]) -> Result<Counted> {
    let mut counted = Counted::new();
    let options = FormatOptions::default();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            *counted.entry(cells.join("|")).or_default() += 1;
        }
    }
    Ok(counted)
}

/// Fails where a row is lost, doubled or wrong.
pub fn compare(expected: &Counted, found: &Counted) -> Result<()> {
    let lost = expected.iter().find(|(row, count)| found.get(*row).is_none_or(|there| there < count));
    let doubled = found.iter().find(|(row, count)| expected.get(*row).is_none_or(|there| there < count));
    ensure!(
        lost.is_none() && doubled.is_none(),
        "lost: {lost:?}; doubled or wrong: {doubled:?}; {} rows instead of {}",
        found.values().sum::<usize>(),
        expected.values().sum::<usize>()
    );
    Ok(())
}

/// A table's folder has its files and nothing else, hidden or not.
fn check_folder(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        ensure!(
            path.extension().is_some_and(|extension| extension == "parquet"),
            "`{}` was left behind",
            path.display()
        );
    }
    Ok(())
}
