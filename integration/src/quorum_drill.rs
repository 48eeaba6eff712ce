//! Disturbs a quorum of three JobManagers at random moments of a stream that takes checkpoints: kills and stops the leader, kills others,
//! also together with a worker, and rescales the stream meanwhile. Every row is to be there once, and where only JobManagers were disturbed no task is to start again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use serde_json::Value;

use crate::{
    processes::{Cluster, ClusterConfig, Node},
    stream_drill::{self, Ran, Undisturbed},
};

/// JobManagers of the quorum.
pub const MEMBERS: usize = 3;
/// Workers of the cluster. Two of them have the slots that the job needs.
pub const WORKERS: usize = 3;
/// Slots of each worker.
pub const SLOTS: u32 = 1;
/// How long a leader is stopped: longer than another needs to be elected, and than workers wait before they look for that one.
const STOPPED: Duration = Duration::from_secs(6);

/// The largest parallelism that a stream is rescaled to: as many as there are slots.
const PARALLELISM_MAX: u32 = WORKERS as u32 * SLOTS;
/// Time for a job to run, so that it can be rescaled.
const RESCALE_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two tries.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// What is done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Fault {
    /// SIGKILL of the leader; it comes back.
    KillLeader,
    /// SIGSTOP of the leader, SIGCONT after another leads: it must not act any more.
    StopLeader,
    /// SIGKILL of another member; it comes back.
    KillFollower,
    /// SIGKILL of the leader and of a worker at once.
    KillLeaderAndWorker,
    /// SIGKILL of two members at once: nobody leads until one is back.
    KillMajority,
    /// SIGKILL of all members: they go on from their disks.
    KillAll,
    /// None: the stream goes on at another parallelism.
    Rescale,
    /// The same, and SIGKILL of the leader as soon as it is decided.
    RescaleAndKillLeader,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 8] = [
        Fault::KillLeader,
        Fault::StopLeader,
        Fault::KillFollower,
        Fault::KillLeaderAndWorker,
        Fault::KillMajority,
        Fault::KillAll,
        Fault::Rescale,
        Fault::RescaleAndKillLeader,
    ];

    /// Whether the stream is rescaled.
    fn rescales(self) -> bool {
        matches!(self, Fault::Rescale | Fault::RescaleAndKillLeader)
    }

    /// Whether tasks may start again.
    fn takes_tasks(self) -> bool {
        matches!(self, Fault::KillLeaderAndWorker | Fault::RescaleAndKillLeader)
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub struct QuorumDrill {
    /// Rows that the source gives.
    pub rows: u64,
    /// How many jobs, one after the other.
    pub jobs: u32,
    /// How many faults in each.
    pub faults: u32,
    /// Which.
    pub kinds: Vec<Fault>,
    /// Where the random moments come from.
    pub seed: u64,
}

/// One fault and how the cluster took it.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Disturbance {
    /// What was done.
    pub fault: Fault,
    /// When, after the job's submission.
    pub after_ms: u64,
    /// From the fault until a majority confirms a leader, where the one before was disturbed.
    pub failover_ms: Option<u64>,
    /// The stream's new parallelism, where it has got one.
    pub rescaled_to: Option<u32>,
}

/// One job and what came of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Disturbed {
    /// What happened.
    pub faults: Vec<Disturbance>,
    /// How often parts of the job started again.
    pub restarts: u64,
    /// How long the job took in all.
    pub total_ms: u64,
    /// How long it takes undisturbed.
    pub undisturbed_ms: u64,
    /// The longest time in which nothing new was to be seen of its output; `None` where it was all seen at once.
    pub longest_gap_ms: Option<u64>,
    /// The same where nothing disturbs it.
    pub undisturbed_gap_ms: Option<u64>,
    /// Rows that it left, all of them right.
    pub rows: usize,
}

/// Runs a drill; the error says which job it was.
pub async fn run(
    mut config: ClusterConfig,
    drill: QuorumDrill,
    mut report: impl FnMut(&Disturbed),
) -> Result<Vec<Disturbed>> {
    let folder = tempfile::Builder::new().prefix("thalweg-quorum-drill-").tempdir()?;
    let checkpoints = folder.path().join("checkpoints");
    std::fs::create_dir(&checkpoints)?;
    stream_drill::configure(&mut config, &format!("file://{}", checkpoints.display()));
    config.members = MEMBERS;
    let undisturbed = Undisturbed::run(config, drill.rows, folder.path()).await?;
    let Undisturbed { cluster, mut target, expected, time: undisturbed, longest_gap: undisturbed_gap } =
        undisturbed;
    let mut random = StdRng::seed_from_u64(drill.seed);
    let mut outcomes = Vec::new();
    for number in 0..drill.jobs {
        let kind = || drill.kinds.choose(&mut random).copied().unwrap_or(Fault::KillLeader);
        let kinds: Vec<Fault> = std::iter::repeat_with(kind).take(drill.faults as usize).collect();
        let mut moments: Vec<Duration> =
            kinds.iter().map(|_| undisturbed.mul_f64(random.random_range(0.0..1.0))).collect();
        moments.sort();
        let worker = random.random_range(0..WORKERS);
        let steps: Vec<u32> = kinds.iter().map(|_| random.random_range(1..PARALLELISM_MAX)).collect();
        let describe = || format!("seed {}, job {number}: {kinds:?} at {moments:?}", drill.seed);
        let mut disturbances = Vec::new();
        let disturb = async |start: Instant| {
            for ((moment, fault), step) in moments.iter().zip(&kinds).zip(&steps) {
                tokio::time::sleep_until((start + *moment).into()).await;
                let after_ms = start.elapsed().as_millis() as u64;
                let rescaling =
                    async { if fault.rescales() { rescale(&cluster, *step).await } else { Ok(None) } };
                let rescaled_to = rescaling.await.with_context(|| format!("{fault:?}"))?;
                let failover =
                    strike(&cluster, *fault, worker).await.with_context(|| format!("{fault:?}"))?;
                let failover_ms = failover.map(|time| time.as_millis() as u64);
                disturbances.push(Disturbance { fault: *fault, after_ms, failover_ms, rescaled_to });
            }
            Ok(())
        };
        let ran = target.stream(&format!("disturbed{number}"), &expected, disturb).await;
        let Ran { total, job, longest_gap } = ran.with_context(describe).with_context(|| cluster.logs())?;
        let left: Vec<_> = std::fs::read_dir(&checkpoints)?.collect();
        ensure!(left.is_empty(), "{} checkpoints were left behind: {left:?}", describe());
        let details = cluster.get(&format!("/v1/jobs/{job}")).await?;
        let outcome = Disturbed {
            faults: disturbances,
            restarts: details["restarts"].as_u64().unwrap_or_default(),
            total_ms: total.as_millis() as u64,
            undisturbed_ms: undisturbed.as_millis() as u64,
            longest_gap_ms: longest_gap.map(|gap| gap.as_millis() as u64),
            undisturbed_gap_ms: undisturbed_gap.map(|gap| gap.as_millis() as u64),
            rows: expected.len(),
        };
        let may_restart = kinds.iter().any(|fault| fault.takes_tasks());
        ensure!(
            may_restart || outcome.restarts == 0,
            "{}: {} restarts without a lost worker\n{}",
            describe(),
            outcome.restarts,
            cluster.logs()
        );
        report(&outcome);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// Does it, and heals the cluster; returns how long nobody led.
async fn strike(cluster: &Cluster, fault: Fault, worker: usize) -> Result<Option<Duration>> {
    let leader = cluster.leader(&[]).await?;
    let other = (leader + 1) % MEMBERS;
    let signal = |index: usize, signal: i32| cluster.with_job_managers(|nodes| nodes[index].signal(signal));
    let kill = |index: usize| cluster.with_job_managers(|nodes: &[Node]| nodes[index].kill());
    let start = Instant::now();
    match fault {
        Fault::KillFollower => {
            kill(other);
            cluster.replace_job_manager(other).await?;
            Ok(None)
        }
        Fault::Rescale => Ok(None),
        Fault::KillLeader | Fault::RescaleAndKillLeader => {
            kill(leader);
            cluster.leader(&[leader]).await?;
            let failover = start.elapsed();
            cluster.replace_job_manager(leader).await?;
            Ok(Some(failover))
        }
        Fault::StopLeader => {
            signal(leader, libc::SIGSTOP);
            let led = cluster.leader(&[leader]).await;
            let failover = start.elapsed();
            tokio::time::sleep_until((start + STOPPED).into()).await;
            signal(leader, libc::SIGCONT);
            led.map(|_| Some(failover))
        }
        Fault::KillLeaderAndWorker => {
            cluster.kill_worker(worker);
            kill(leader);
            cluster.leader(&[leader]).await?;
            let failover = start.elapsed();
            cluster.replace_job_manager(leader).await?;
            cluster.replace_worker(worker).await?;
            Ok(Some(failover))
        }
        Fault::KillAll => {
            (0..MEMBERS).for_each(kill);
            for member in 0..MEMBERS {
                cluster.replace_job_manager(member).await?;
            }
            cluster.leader(&[]).await?;
            Ok(Some(start.elapsed()))
        }
        Fault::KillMajority => {
            kill(leader);
            kill(other);
            cluster.replace_job_manager(other).await?;
            cluster.leader(&[leader]).await?;
            let failover = start.elapsed();
            cluster.replace_job_manager(leader).await?;
            Ok(Some(failover))
        }
    }
}

/// Lets the stream go on at another parallelism, `step` further on in their circle; tells which, or `None` where it has ended.
async fn rescale(cluster: &Cluster, step: u32) -> Result<Option<u32>> {
    let deadline = Instant::now() + RESCALE_TIMEOUT;
    loop {
        let jobs = cluster.get("/v1/jobs/overview").await?;
        let mut jobs = jobs["jobs"].as_array().into_iter().flatten();
        let Some(job) = jobs.find(|job| job["end-time"] == -1) else { return Ok(None) };
        let path = format!("/v1/jobs/{}/resource-requirements", job["jid"].as_str().context("it has an id")?);
        let mut wanted = cluster.get(&path).await?;
        let before = parallelism(&wanted);
        let next = (before + step).saturating_sub(1) % PARALLELISM_MAX + 1;
        for vertex in wanted.as_object_mut().into_iter().flat_map(|vertices| vertices.values_mut()) {
            vertex["parallelism"]["upperBound"] = next.into();
        }
        // One without vertices is being planned.
        let asked = if before > 0 { Some(cluster.put(&path, &wanted).await) } else { None };
        match asked {
            Some(Ok(())) => {
                let now = parallelism(&cluster.get(&path).await?);
                return Ok((now == next).then_some(next));
            }
            Some(Err(refused)) if !refused.to_string().contains("not-running") => return Err(refused),
            // Planned and not running yet, or about to end.
            _ => ensure!(Instant::now() < deadline, "the job does not run"),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The largest parallelism of a job's vertices.
fn parallelism(requirements: &Value) -> u32 {
    let bounds = requirements.as_object().into_iter().flat_map(|vertices| vertices.values());
    bounds.filter_map(|vertex| vertex["parallelism"]["upperBound"].as_u64()).max().unwrap_or(0) as u32
}
