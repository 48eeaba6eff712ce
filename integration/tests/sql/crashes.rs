//! Crashes: a worker is killed behind a random checkpoint of a stream, which then goes on by itself from there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use thalweg::Client;
use thalweg_graph::{JobId, Options};
use thalweg_integration::processes::{Cluster, ClusterConfig};

use super::ROWS_PER_SECOND;
use crate::place::binary;

/// Workers, and slots of each: two of them are enough for a job, so that it need not wait for another one.
const WORKERS: usize = 3;
const SLOTS: u32 = 2;
/// Subtasks of a vertex, at most.
const PARALLELISM_MAX: u32 = 4;
/// Behind so many checkpoints at most a worker is killed.
const CHECKPOINTS_MAX: u64 = 4;
/// And so much later at most: while rows move, or the next checkpoint.
const LATER_MS_MAX: u64 = 10;
/// Pause between two looks at a job.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// A cluster whose workers crash.
pub struct Crashes {
    cluster: Cluster,
    /// How many jobs have gone on from a checkpoint.
    pub restored: AtomicUsize,
}

impl Crashes {
    /// All workers run.
    pub async fn start() -> Arc<Self> {
        let options: Options = [
            ("heartbeat.interval", "50 ms"),
            ("restart-strategy.type", "fixed-delay"),
            ("restart-strategy.fixed-delay.attempts", "10"),
            ("restart-strategy.fixed-delay.delay", "10 ms"),
        ]
        .into_iter()
        .collect();
        let config = ClusterConfig { options, ..ClusterConfig::new(binary(), WORKERS, SLOTS) };
        let cluster = Cluster::start(config).await.unwrap_or_else(|error| panic!("no cluster: {error:#}"));
        Arc::new(Self { cluster, restored: AtomicUsize::new(0) })
    }

    /// A client whose streams take checkpoints, with random parallelism and state backend.
    pub async fn client(self: &Arc<Self>, options: &Options, seed: u64) -> (Client, RandomCrashes) {
        let mut random = StdRng::seed_from_u64(seed);
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let checkpoints = format!("file://{}", folder.path().display());
        let (rate, parallelism) =
            (ROWS_PER_SECOND.to_string(), random.random_range(2..=PARALLELISM_MAX).to_string());
        let more: Options = [
            ("table.exec.source.rows-per-second", rate.as_str()),
            ("parallelism.default", parallelism.as_str()),
            ("state.backend.type", if random.random() { "lsm" } else { "memory" }),
            ("execution.checkpointing.interval", "10 ms"),
            ("execution.checkpointing.dir", checkpoints.as_str()),
        ]
        .into_iter()
        .collect();
        let client = Client::remote(&self.cluster.address, options.overridden_by(&more)).await;
        let client = client.unwrap_or_else(|error| panic!("no client: {error:#}"));
        (client, RandomCrashes { crashes: Arc::clone(self), random, _folder: folder })
    }

    /// Waits until so many checkpoints of a job are complete.
    async fn checkpoints(&self, job: JobId, count: u64) -> Result<()> {
        let path = format!("/v1/jobs/{job}/checkpoints");
        while self.cluster.get(&path).await?["counts"]["completed"].as_u64() < Some(count) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// The crashes of one session.
pub struct RandomCrashes {
    crashes: Arc<Crashes>,
    random: StdRng,
    _folder: tempfile::TempDir,
}

impl RandomCrashes {
    /// Kills a worker behind a random checkpoint of a job, unless it has ended before, and waits for the job's end.
    pub async fn through(&mut self, client: &Client, job: JobId) -> Result<()> {
        let Crashes { cluster, restored } = self.crashes.as_ref();
        let count = self.random.random_range(1..=CHECKPOINTS_MAX);
        let later = Duration::from_millis(self.random.random_range(0..=LATER_MS_MAX));
        let worker = self.random.random_range(0..WORKERS);
        tokio::select! {
            ended = client.wait(job) => return ended,
            reached = self.crashes.checkpoints(job, count) => reached?,
        }
        tokio::time::sleep(later).await;
        cluster.kill_worker(worker);
        let told = || format!("worker {worker} was killed {later:?} behind checkpoint {count}");
        let (ended, replaced) = tokio::join!(client.wait(job), cluster.replace_worker(worker));
        replaced?;
        ended.with_context(told).with_context(|| cluster.logs())?;
        let checkpoints = cluster.get(&format!("/v1/jobs/{job}/checkpoints")).await?;
        if checkpoints["counts"]["restored"].as_u64() > Some(0) {
            restored.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
