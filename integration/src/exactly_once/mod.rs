//! Exactly once, tried: while a job goes from Kafka through windows and updating joins to Kafka and Parquet, workers, the JobManager, Kafka
//! and the connections between them are killed, stopped and torn at random moments. What the job leaves is compared, row by row, with what
//! the records give by plain arithmetic.

mod fault;
mod workload;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use thalweg::{Client, Execution};
use thalweg_graph::{JobId, Options};
use thalweg_plan::Session;
use tokio::{task::JoinHandle, time::timeout};

pub use self::fault::Fault;
use self::workload::{LOOK_INTERVAL, REMOVAL_TIMEOUT, Workload};
use crate::{
    kafka::Kafka,
    processes::{Cluster, ClusterConfig},
};

/// Workers of the cluster. Two of them have the slots that a job needs.
pub const WORKERS: usize = 3;
/// Slots of each worker.
pub const SLOTS: u32 = 1;
const PARALLELISM: u32 = 2;
/// Time for a job to recover from its last fault and to end.
const JOB_TIMEOUT: Duration = Duration::from_secs(180);

/// What to do.
#[derive(Debug, Clone)]
pub struct ExactlyOnceDrill {
    /// Records that the source topic has.
    pub records: u64,
    /// How many faults must have hit in all.
    pub faults: u32,
    /// How many a job meets at most.
    pub faults_per_job: usize,
    /// What may happen: each is as likely, and each happens once before any happens again.
    pub kinds: Vec<Fault>,
    /// Where the random moments come from.
    pub seed: u64,
}

/// One job and what came of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Disturbed {
    /// What happened while it ran, and when, in milliseconds after it was submitted.
    pub faults: Vec<(Fault, u64)>,
    /// How long it took in all.
    pub total_ms: u64,
    /// How long it takes undisturbed.
    pub undisturbed_ms: u64,
    /// Rows that it left, all of them right.
    pub rows: usize,
}

/// Runs a drill; the error says which job it was.
pub async fn run(
    mut config: ClusterConfig,
    drill: ExactlyOnceDrill,
    mut report: impl FnMut(&Disturbed),
) -> Result<Vec<Disturbed>> {
    let folder = tempfile::Builder::new().prefix("thalweg-exactly-once-").tempdir()?;
    let checkpoints = folder.path().join("checkpoints");
    std::fs::create_dir(&checkpoints)?;
    for (name, value) in [
        ("execution.checkpointing.interval", "200 ms"),
        ("execution.checkpointing.dir", format!("file://{}", checkpoints.display()).as_str()),
        ("execution.checkpointing.tolerable-failed-checkpoints", "1000"),
        ("restart-strategy.exponential-delay.initial-backoff", "50 ms"),
        ("restart-strategy.exponential-delay.max-backoff", "1 s"),
        ("restart-strategy.exponential-delay.attempts-before-reset-backoff", "1000"),
        ("heartbeat.interval", "300 ms"),
        ("heartbeat.timeout", "2 s"),
    ] {
        config.options.0.insert(name.to_owned(), value.to_owned());
    }
    let kafka = Kafka::start(&[])?;
    let cluster = Cluster::start(config).await?;
    let workload = Workload::prepare(&kafka, drill.records).await?;
    let place = Place { kafka, cluster, checkpoints, folder: folder.path().to_owned(), workload };
    let mut random = StdRng::seed_from_u64(drill.seed);
    let undisturbed =
        place.job("undisturbed", &mut random, &[], Duration::ZERO).await.context("undisturbed")?;
    let undisturbed = Duration::from_millis(undisturbed.total_ms);
    let mut outcomes = Vec::new();
    let (mut kinds, mut hit) = (Vec::new(), 0);
    while hit < drill.faults {
        let number = outcomes.len();
        let mut faults = Vec::new();
        while faults.len() < drill.faults_per_job {
            if kinds.is_empty() {
                kinds.clone_from(&drill.kinds);
                kinds.shuffle(&mut random);
            }
            faults.extend(kinds.pop());
        }
        let name = format!("disturbed{number}");
        let ran = place.job(&name, &mut random, &faults, undisturbed).await;
        let outcome = ran
            .with_context(|| format!("seed {}, job {number}", drill.seed))
            .with_context(|| place.cluster.logs())?;
        // Those that a job was through with before come again in the next one.
        kinds.extend(faults.drain(outcome.faults.len()..));
        hit += outcome.faults.len() as u32;
        report(&outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

struct Place {
    kafka: Kafka,
    cluster: Cluster,
    checkpoints: PathBuf,
    folder: PathBuf,
    workload: Workload,
}

/// A job that was submitted, and the task that waits for its end.
struct Running {
    job: JobId,
    /// The checkpoint that it went on from.
    from: Option<String>,
    ended: JoinHandle<Result<()>>,
}

impl Place {
    async fn job(
        &self,
        name: &str,
        random: &mut StdRng,
        faults: &[Fault],
        undisturbed: Duration,
    ) -> Result<Disturbed> {
        let tables = self.folder.join(name);
        self.workload.create_outputs(&self.kafka, name).await?;
        let start = Instant::now();
        let mut running = self.submit(name, &tables, None).await?;
        let (mut hit, mut abandoned) = (Vec::new(), Vec::new());
        for fault in faults.iter().copied() {
            let pause = undisturbed.mul_f64(random.random_range(0.0..0.5));
            let worker = random.random_range(0..WORKERS);
            if let Ok(ended) = timeout(pause, &mut running.ended).await {
                ended?.with_context(|| format!("after {hit:?} the job ended"))?;
                break;
            }
            hit.push((fault, start.elapsed().as_millis() as u64));
            eprintln!("{name}: {fault:?} of worker {worker} after {} ms", start.elapsed().as_millis());
            fault.strike(&self.kafka, &self.cluster, worker).await.with_context(|| format!("{fault:?}"))?;
            if fault == Fault::KillJobManager {
                // Whoever waited for the job's end waits for nobody.
                running.ended.abort();
                let own = newest_checkpoint(&self.checkpoints.join(running.job.to_string()))?;
                if own.is_none() && self.workload.has_output(&tables) {
                    eprintln!("{name}: it had finished");
                    running.ended = tokio::spawn(async { Ok(()) });
                    break;
                }
                if own.is_none() {
                    // Nobody knows of it any more: what it has staged stays, where no reader looks.
                    abandoned.push(running.job);
                }
                // What it had gone on from itself is then the newest that there is.
                running = self.submit(name, &tables, own.or(running.from)).await?;
            }
        }
        let job = running.job;
        if !running.ended.is_finished() {
            let ended = timeout(JOB_TIMEOUT, &mut running.ended).await;
            let seconds = JOB_TIMEOUT.as_secs();
            ended
                .with_context(|| format!("after {hit:?} the job did not end in {seconds} s"))??
                .with_context(|| format!("after {hit:?}"))?;
        }
        let total = start.elapsed();
        for job in abandoned {
            match std::fs::remove_dir_all(tables.join(format!(".staging-{job}"))) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
        // A worker that was stopped may come back behind the job's end: it makes its folders once more, and empties them when it is told.
        let may_come_late = hit.iter().any(|(fault, _)| *fault == Fault::PauseWorker);
        if may_come_late {
            remove_empty_staging(&tables).await?;
        }
        let rows = self
            .workload
            .check(&self.kafka, name, &tables)
            .await
            .with_context(|| format!("after {hit:?}"))?;
        let own = self.checkpoints.join(job.to_string());
        let deadline = Instant::now() + REMOVAL_TIMEOUT;
        while own.exists() && !may_come_late {
            ensure!(Instant::now() < deadline, "`{}` was left behind", own.display());
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(Disturbed {
            faults: hit,
            total_ms: total.as_millis() as u64,
            undisturbed_ms: undisturbed.as_millis() as u64,
            rows,
        })
    }

    /// Starts the job, from a checkpoint if there is one.
    async fn submit(&self, name: &str, tables: &Path, from: Option<String>) -> Result<Running> {
        let mut options: Options = [("parallelism.default", PARALLELISM.to_string())].into_iter().collect();
        options.0.extend(from.clone().map(|url| ("execution.state-recovery.path".to_owned(), url)));
        options.0.insert("execution.runtime-mode".to_owned(), "STREAMING".to_owned());
        let mut client = Client::remote(&self.cluster.address, options).await?;
        client.sql(&self.workload.create_tables(&self.kafka, name, tables)).await?;
        let statement = Session::parse(workload::JOB)?.into_iter().next().context("there is a statement")?;
        let Execution::Job { job, .. } = client.execute(&statement).await? else { bail!("there is no job") };
        Ok(Running { job, from, ended: tokio::spawn(async move { client.wait(job).await }) })
    }
}

/// Removes hidden folders of a table once they have no files.
async fn remove_empty_staging(table: &Path) -> Result<()> {
    let deadline = Instant::now() + REMOVAL_TIMEOUT;
    for entry in std::fs::read_dir(table)? {
        let path = entry?.path();
        let is_staging = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".staging-"));
        while is_staging && path.exists() {
            if files_below(&path) == 0 {
                let _ = std::fs::remove_dir_all(&path);
                continue;
            }
            ensure!(Instant::now() < deadline, "`{}` has files", path.display());
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    Ok(())
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// The folder of the newest whole checkpoint below a job's folder, as a URL.
fn newest_checkpoint(folder: &Path) -> Result<Option<String>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(None) };
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix("chk-")?.parse().ok());
        let Some(number) = number.filter(|_| path.join("_metadata").exists()) else { continue };
        if newest.as_ref().is_none_or(|(known, _)| *known < number) {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| format!("file://{}", path.display())))
}
