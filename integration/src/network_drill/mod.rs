//! A quorum, its workers and their storage as nodes of a network, and everything that can happen to them: processes are killed, stopped and
//! restarted, links are cut, one way or both, and flap, while a stream runs and batches run beside it. Behind each fault the cluster must heal in
//! time; a leader that was deposed must not answer as one; no task may start again where every worker was reached by a leader; at the end each row
//! is there once, and nothing else.

mod fault;
mod healing;
mod place;
mod workload;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use thalweg_graph::JobId;

use self::{
    fault::Draw,
    place::Place,
    workload::{Ended, Workload},
};
pub use self::{
    fault::Fault,
    place::{SLOTS, WORKERS},
};
use crate::processes::ClusterConfig;

/// The shortest time for which links are cut and processes are stopped, and the longest pause before.
const TIME_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// What a fault takes beside that, as a stream's length is reckoned.
const TIME_TO_HEAL: Duration = Duration::from_secs(2);

/// What to do.
#[derive(Debug, Clone)]
pub struct NetworkDrill {
    /// How many faults in all.
    pub faults: usize,
    /// How many a stream meets at most.
    pub faults_per_job: usize,
    /// What may happen: each is as likely, and each happens once before any happens again.
    pub kinds: Vec<Fault>,
    /// For how long links are cut and processes are stopped at most: longer than others wait for them, to see that.
    pub time_max: Duration,
    /// Where the random moments come from.
    pub seed: u64,
}

/// One fault and how the cluster took it.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Hit {
    /// What happened.
    pub fault: Fault,
    /// When, after the stream was submitted.
    pub after_ms: u64,
    /// From then until a majority confirms another leader, where the one before was disturbed.
    pub failover_ms: Option<u64>,
    /// From the moment when all processes and links were there again until the cluster had healed.
    pub healed_ms: u64,
    /// How often parts of the stream have started again by then.
    pub restarts: u64,
}

/// One stream with its batches, and what came of them.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Disturbed {
    /// What happened.
    pub hits: Vec<Hit>,
    /// How long the stream took.
    pub stream_ms: u64,
    /// How long the batches took, one after the other.
    pub batches_ms: Vec<u64>,
    /// How often parts of them started again in all.
    pub batch_restarts: u32,
    /// Rows that the stream left, all of them right.
    pub rows: usize,
}

/// What a drill came to.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Outcome {
    /// Why there was no network, and hence no fault of one.
    pub without_network: Option<String>,
    /// What happened.
    pub jobs: Vec<Disturbed>,
}

/// Runs a drill; the error says which job it was.
pub async fn run(
    config: ClusterConfig,
    drill: NetworkDrill,
    mut report: impl FnMut(&Disturbed),
) -> Result<Outcome> {
    let (network, without_network) = match place::network() {
        Ok(network) => (Some(Arc::new(network)), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    if let Some(why) = &without_network {
        eprintln!(
            "no network namespaces, hence processes on loopback, no cut links, no storage behind a link: {why}"
        );
    }
    let possible = Fault::all(network.is_some());
    let kinds: Vec<Fault> = drill.kinds.iter().copied().filter(|kind| possible.contains(kind)).collect();
    let place = Place::start(config, network).await?;
    let time = (drill.time_max + TIME_TO_HEAL) * drill.faults_per_job as u32;
    let workload = Workload::prepare(time).await.context("the answers")?;
    let mut random = StdRng::seed_from_u64(drill.seed);
    let (mut jobs, mut deck, mut hit) = (Vec::<Disturbed>::new(), Vec::new(), 0);
    while hit < drill.faults && !kinds.is_empty() {
        let wanted = drill.faults_per_job.min(drill.faults - hit);
        while deck.len() < wanted {
            let mut more = kinds.clone();
            more.shuffle(&mut random);
            // The next is the last.
            deck.splice(0..0, more);
        }
        let faults = deck.split_off(deck.len() - wanted);
        let number = jobs.len();
        let round = Round { place: &place, workload: &workload, number, time_max: drill.time_max };
        let disturbed = round.run(&faults, &mut random).await;
        let disturbed = disturbed
            .with_context(|| format!("seed {}, job {number}", drill.seed))
            .with_context(|| place.cluster.logs())?;
        // Those that the stream was through with before come again in the next one.
        deck.extend(&faults[disturbed.hits.len()..]);
        hit += disturbed.hits.len();
        report(&disturbed);
        jobs.push(disturbed);
    }
    Ok(Outcome { without_network, jobs })
}

/// One stream with its batches.
struct Round<'a> {
    place: &'a Place,
    workload: &'a Workload,
    number: usize,
    time_max: Duration,
}

impl Round<'_> {
    async fn run(&self, faults: &[Fault], random: &mut StdRng) -> Result<Disturbed> {
        let Self { place, workload, number, .. } = self;
        let table = format!("stream{number}");
        let stream = workload.start_stream(place, &table).await?;
        let (start, job, stop) = (Instant::now(), stream.job, AtomicBool::new(false));
        let name = format!("batch{number}");
        let batches = async {
            let ran = workload.batches(place, &name, &stop).await;
            // Nothing more is to happen to those that are over.
            stop.store(true, Relaxed);
            ran
        };
        let disturb = async {
            let disturbed = self.disturb(job, start, faults, &stop, random).await;
            stop.store(true, Relaxed);
            disturbed
        };
        let (batches, hits) = tokio::join!(batches, disturb);
        let hits = hits?;
        let batches: Vec<Ended> = batches.with_context(|| format!("{hits:?}"))?;
        let ended = stream.wait().await.with_context(|| format!("the stream, {hits:?}"))?;
        let rows = workload.check_stream(place, &table).await.with_context(|| format!("{hits:?}"))?;
        workload::until_only(&place.files, "checkpoints", |_| false).await?;
        healing::at_rest(&place.cluster).await?;
        let batch_restarts = batches.iter().map(|batch| batch.restarts).sum();
        let may_restart = hits.iter().any(|hit| hit.fault.takes_tasks());
        ensure!(
            may_restart || batch_restarts == 0,
            "{batch_restarts} restarts of batches without a worker out of reach: {hits:?}"
        );
        Ok(Disturbed {
            hits,
            stream_ms: ended.time.as_millis() as u64,
            batches_ms: batches.iter().map(|batch| batch.time.as_millis() as u64).collect(),
            batch_restarts,
            rows,
        })
    }

    /// Lets the faults happen, one after the other, each when the cluster has healed from the one before; as long as the stream runs.
    async fn disturb(
        &self,
        job: JobId,
        start: Instant,
        faults: &[Fault],
        stop: &AtomicBool,
        random: &mut StdRng,
    ) -> Result<Vec<Hit>> {
        let cluster = &self.place.cluster;
        let mut hits = Vec::new();
        let (_, mut restarts) = healing::healed(cluster, job).await.context("before anything happened")?;
        for fault in faults.iter().copied() {
            let pause = PAUSE_MAX.min(self.time_max).mul_f64(random.random_range(0.0..1.0));
            tokio::time::sleep(pause).await;
            let worker = random.random_range(0..WORKERS);
            let other = (worker + random.random_range(1..WORKERS)) % WORKERS;
            let draw = Draw { worker, other, time: random.random_range(TIME_MIN..self.time_max) };
            let status = cluster.get(&format!("/v1/jobs/{job}/status")).await?["status"].clone();
            if status == "FINISHED" || stop.load(Relaxed) {
                break;
            }
            let after = start.elapsed();
            eprintln!("stream {}: {fault}, {draw:?}, after {} ms", self.number, after.as_millis());
            let describe = || format!("{fault}, {draw:?}, after {} ms, behind {hits:?}", after.as_millis());
            let failover = fault.strike(self.place, draw).await.with_context(describe)?;
            let (healed, now) = healing::healed(cluster, job).await.with_context(describe)?;
            ensure!(
                fault.takes_tasks() || now == restarts,
                "{} restarts without a worker out of reach: {}",
                now - restarts,
                describe()
            );
            restarts = now;
            hits.push(Hit {
                fault,
                after_ms: after.as_millis() as u64,
                failover_ms: failover.map(|time| time.as_millis() as u64),
                healed_ms: healed.as_millis() as u64,
                restarts,
            });
        }
        Ok(hits)
    }
}
