//! One life, from its seed.

use std::{
    fmt, thread,
    time::{Duration, SystemTime},
};

use rand::Rng as _;

use crate::{
    client::{self, Submission},
    disk::SimDisk,
    event::Meddling,
    faults::Faults,
    hosts::{self, MEMBERS, WORKERS},
    randomness,
    world::{Broken, World},
};

/// One step of the simulation.
const TICK: Duration = Duration::from_millis(5);
/// How long faults go on.
const FAULTS_MS: std::ops::Range<u64> = 4_000..9_000;
/// Time for the cluster to heal and to end all jobs.
const HEAL_MAX: Duration = Duration::from_secs(60);
/// When a life begins: in September 2020.
const EPOCH: Duration = Duration::from_secs(1_600_000_000);

/// What was seen of a life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    /// Its seed.
    pub seed: u64,
    /// All that was seen, a line each.
    pub trace: String,
    /// What was wrong first, if anything was.
    pub broken: Option<Broken>,
    /// How long it was, in its own time.
    pub elapsed: Duration,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.broken {
            None => write!(f, "seed {}: well, after {} ms", self.seed, self.elapsed.as_millis()),
            Some(Broken { invariant, why }) => {
                writeln!(f, "seed {}: broken: {invariant}: {why}", self.seed)?;
                write!(f, "to see it again: make sim SEEDS={}..{}", self.seed, self.seed + 1)
            }
        }
    }
}

/// Lives the life of a seed, on a thread of its own.
pub fn run(seed: u64) -> Life {
    let living = thread::spawn(move || {
        randomness::seed_thread(seed);
        live(seed)
    });
    living.join().unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        let broken = Some(Broken { invariant: "nothing panics", why: why.unwrap_or_default() });
        Life { seed, trace: String::new(), broken, elapsed: Duration::ZERO }
    })
}

fn live(seed: u64) -> Life {
    let world = World::new(seed);
    let mut random = world.generator("run");
    let heal = Duration::from_millis(random.random_range(FAULTS_MS));
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(seed)
        .epoch(SystemTime::UNIX_EPOCH + EPOCH)
        .simulation_duration(heal + HEAL_MAX)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(10))
        .tcp_capacity(4096)
        .enable_random_order();
    let mut sim = builder.build();
    let disks: Vec<_> =
        (1..=MEMBERS).map(|member| SimDisk::new(world.generator(&format!("disk of jm-{member}")))).collect();
    for (member, disk) in (1..=MEMBERS).zip(&disks) {
        let (world, disk) = (world.clone(), disk.clone());
        sim.host(hosts::job_manager_host(member), move || {
            hosts::job_manager(world.clone(), member, disk.clone())
        });
    }
    for number in 1..=WORKERS {
        let world = world.clone();
        sim.host(hosts::worker_host(number), move || hosts::worker(world.clone(), number));
    }
    let submissions = submissions(&mut random, heal);
    sim.client("client", client::run(world.clone(), submissions));
    let mut faults = Faults::new(world.clone(), disks, heal);
    loop {
        world.set_now(sim.elapsed().as_millis());
        faults.step(&mut sim);
        match sim.step() {
            Ok(false) if world.broken().is_none() => {}
            Ok(false) => break,
            Ok(true) => {
                world.end();
                break;
            }
            Err(error) => {
                world.breaks("the cluster heals", error.to_string());
                break;
            }
        }
    }
    Life { seed, trace: world.trace(), broken: world.broken(), elapsed: sim.elapsed() }
}

/// What the client submits in a life.
fn submissions(random: &mut rand::rngs::StdRng, heal: Duration) -> Vec<Submission> {
    let statement = |random: &mut rand::rngs::StdRng| match random.random_range(0..3) {
        0 => {
            let (producers, consumers) = (random.random_range(1..4), random.random_range(1..4));
            format!("batch {producers} {consumers} {}", random.random_range(20..600))
        }
        1 => format!("stream {} 0 {}", random.random_range(1..3), random.random_range(20..200)),
        _ => {
            let (sources, sinks) = (random.random_range(1..3), random.random_range(1..3));
            format!("stream {sources} {sinks} {}", random.random_range(20..200))
        }
    };
    let count = random.random_range(2..6);
    let each = (0..count).map(|number| {
        let statements: Vec<_> = (0..random.random_range(1..3)).map(|_| statement(random)).collect();
        Submission {
            key: format!("key {number}"),
            script: statements.join("\n"),
            after: Duration::from_millis(random.random_range(0..heal.as_millis() as u64)),
            twice: random.random_bool(0.3),
            meddling: meddling(random),
        }
    });
    each.collect()
}

/// What the client asks of a job: mostly nothing, or to be rescaled once or more; some are ended before their time.
fn meddling(random: &mut rand::rngs::StdRng) -> Vec<(Duration, Meddling)> {
    let mut all = Vec::new();
    let after = |random: &mut rand::rngs::StdRng| Duration::from_millis(random.random_range(0..2_000));
    if random.random_bool(0.5) {
        for _ in 0..random.random_range(1..4) {
            all.push((after(random), Meddling::Rescale(random.random_range(1..5))));
        }
    }
    match random.random_range(0..10) {
        0 => all.push((after(random), Meddling::Cancel)),
        1 => all.push((after(random), Meddling::Stop)),
        _ => {}
    }
    all
}
