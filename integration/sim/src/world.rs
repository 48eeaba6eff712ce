//! What all processes of a life share: what is seen of it, and the systems that are not simulated in detail (checkpoint storage, the rows
//! that lie on workers, barriers on their way).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use thalweg_graph::{
    Attempt, WorkerId,
    checkpoint::{Barrier, Manifest},
    exchange::ResultPartitionId,
};

use crate::{
    event::Event,
    invariants::{self, Invariant},
    randomness,
};

/// The first thing that was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The invariant.
    pub invariant: &'static str,
    /// What broke it.
    pub why: String,
}

/// A handle to it.
#[derive(Clone)]
pub struct World {
    seed: u64,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    trace: String,
    now_ms: u128,
    invariants: Vec<Box<dyn Invariant>>,
    broken: Option<Broken>,
    healed: bool,
    /// Processes that have ended by themselves, for whoever starts them again.
    stopped: BTreeSet<String>,
    incarnations: BTreeMap<String, u32>,
    manifests: BTreeMap<String, Manifest>,
    partitions: BTreeSet<(WorkerId, ResultPartitionId)>,
    outputs: BTreeMap<Attempt, Output>,
}

/// What a stream's task has put out for others, as far as others need it: no rows, but what is between them.
#[derive(Debug, Clone)]
pub struct Output {
    /// Where the task runs.
    pub worker: WorkerId,
    /// The newest barrier that it has let pass.
    pub barrier: Option<Barrier>,
    /// Nothing follows.
    pub ended: bool,
    /// It broke.
    pub failed: bool,
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            trace: String::new(),
            now_ms: 0,
            invariants: invariants::all(),
            broken: None,
            healed: false,
            stopped: BTreeSet::new(),
            incarnations: BTreeMap::new(),
            manifests: BTreeMap::new(),
            partitions: BTreeSet::new(),
            outputs: BTreeMap::new(),
        };
        Self { seed, inner: Arc::new(Mutex::new(inner)) }
    }

    /// A generator for one part of it.
    pub fn generator(&self, of: &str) -> StdRng {
        randomness::generator(self.seed, of)
    }

    /// Something was seen.
    pub fn tell(&self, event: Event) {
        let now_ms = turmoil::sim_elapsed().map(|elapsed| elapsed.as_millis());
        let inner = &mut *self.inner.lock();
        inner.now_ms = now_ms.unwrap_or(inner.now_ms);
        // Writing to a text does not fail.
        let _ = writeln!(inner.trace, "{:>7} {event}", inner.now_ms);
        match &event {
            Event::Healed => inner.healed = true,
            Event::Stopped { host, .. } => drop(inner.stopped.insert(host.clone())),
            Event::WorkerGone { worker } => {
                inner.partitions.retain(|(of, _)| of != worker);
                let lost = inner.outputs.values_mut().filter(|output| output.worker == *worker);
                lost.for_each(|output| output.failed |= !output.ended);
            }
            _ => {}
        }
        for invariant in &mut inner.invariants {
            if let Err(why) = invariant.see(&event) {
                inner.broken.get_or_insert(Broken { invariant: invariant.name(), why });
            }
        }
    }

    /// The time, for what is told between the steps of the simulation.
    pub fn set_now(&self, now_ms: u128) {
        self.inner.lock().now_ms = now_ms;
    }

    /// What was wrong first, if anything was.
    pub fn broken(&self) -> Option<Broken> {
        self.inner.lock().broken.clone()
    }

    /// Something is wrong that no event tells.
    pub fn breaks(&self, invariant: &'static str, why: String) {
        self.inner.lock().broken.get_or_insert(Broken { invariant, why });
    }

    /// The life is over.
    pub fn end(&self) {
        let inner = &mut *self.inner.lock();
        for invariant in &mut inner.invariants {
            if let Err(why) = invariant.end() {
                inner.broken.get_or_insert(Broken { invariant: invariant.name(), why });
            }
        }
    }

    /// All that was seen, a line each.
    pub fn trace(&self) -> String {
        self.inner.lock().trace.clone()
    }

    /// Whether nothing is broken on purpose any more.
    pub fn is_healed(&self) -> bool {
        self.inner.lock().healed
    }

    /// The processes that have ended by themselves since this was asked last.
    pub fn take_stopped(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.inner.lock().stopped)
    }

    /// Counts the processes of a host.
    pub fn next_incarnation(&self, host: &str) -> u32 {
        let mut inner = self.inner.lock();
        let count = inner.incarnations.entry(host.to_owned()).or_insert(0);
        *count += 1;
        *count
    }

    /// The number of its process of the moment.
    pub fn incarnation(&self, host: &str) -> u32 {
        self.inner.lock().incarnations.get(host).copied().unwrap_or(0)
    }

    /// The storage of checkpoints.
    pub fn manifests<T>(&self, with: impl FnOnce(&mut BTreeMap<String, Manifest>) -> T) -> T {
        with(&mut self.inner.lock().manifests)
    }

    /// The finished outputs that lie on workers.
    pub fn partitions<T>(&self, with: impl FnOnce(&mut BTreeSet<(WorkerId, ResultPartitionId)>) -> T) -> T {
        with(&mut self.inner.lock().partitions)
    }

    /// What streams' tasks have put out.
    pub fn outputs<T>(&self, with: impl FnOnce(&mut BTreeMap<Attempt, Output>) -> T) -> T {
        with(&mut self.inner.lock().outputs)
    }
}
