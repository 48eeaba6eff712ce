//! Workers and their slots: who is registered, who has gone silent, which job gets which slots. Pure: the time is an argument,
//! what must be done comes back as actions.
//!
//! A request asks for all the slots of one region at once and is granted whole or not at all. Next in turn is the job of the highest priority,
//! of these the one that holds the fewest slots, of these the oldest request; nobody passes it, so that wide requests are not starved by narrow
//! ones. A queue of jobs that may not have more passes its turn on to the others. A request wider than the whole cluster, or than its queue may
//! be, blocks nobody: it waits apart and times out.

mod line;
mod queue;
mod shortfall;
mod worker;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use thalweg_graph::{JobId, Term, WorkerId, job_queues::JobQueues};
use thalweg_rpc::Registration;

use self::queue::Queue;
pub use self::{
    shortfall::{QueueFull, Shortfall},
    worker::{Location, Worker},
};
use crate::clock::Timestamp;

/// The part of a job that slots are asked for at once: its position among those of its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(pub u32);

/// One slot given to one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId(pub u64);

/// What a job wants of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlotWish {
    /// Hosts where its data is, best first. A wish, not a condition.
    pub preferred_hosts: Vec<String>,
}

/// Where a job stands among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobClass {
    /// The queue that it belongs to.
    pub queue: Arc<str>,
    /// Those of a higher one come first.
    pub priority: i32,
}

impl Default for JobClass {
    fn default() -> Self {
        Self { queue: JobQueues::DEFAULT.into(), priority: 0 }
    }
}

/// A slot that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedSlot {
    /// Names the grant when it is released.
    pub allocation: AllocationId,
    /// Where it is.
    pub location: Arc<Location>,
}

/// What must now be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A region has its slots, in the order of the wishes.
    Grant {
        /// Whose.
        job: JobId,
        /// Which region.
        region: RegionId,
        /// The slots.
        slots: Vec<GrantedSlot>,
    },
    /// A request was given up: the cluster was too small for it for too long.
    TimedOut {
        /// Whose.
        job: JobId,
        /// Which region.
        region: RegionId,
        /// What was missing.
        shortfall: Shortfall,
    },
    /// A worker is to be given a sign of life.
    Heartbeat(WorkerId),
    /// A worker is lost with all its slots.
    Lost {
        /// Which.
        worker: WorkerId,
        /// Why it counts as lost.
        reason: String,
    },
}

/// How workers are watched, and what jobs may have of them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time between signs of life.
    pub heartbeat_interval: Duration,
    /// Silence after which a worker is lost.
    pub heartbeat_timeout: Duration,
    /// Time in which a worker whose connection broke may come back.
    pub session_grace: Duration,
    /// The queues that jobs belong to.
    pub queues: Arc<JobQueues>,
}

struct Allocation {
    job: JobId,
    worker: WorkerId,
}

/// The state.
pub struct ResourceManager {
    settings: Settings,
    workers: BTreeMap<WorkerId, Worker>,
    /// Workers with free slots by number of free slots.
    by_free: BTreeSet<(u32, WorkerId)>,
    by_host: BTreeMap<String, BTreeSet<WorkerId>>,
    allocations: BTreeMap<AllocationId, Allocation>,
    allocations_made: u64,
    queue: Queue,
    slots_total: u32,
    slots_free: u32,
    next_heartbeat: Option<Timestamp>,
}

impl ResourceManager {
    /// Without workers. What it gives out in one term has other numbers than in another.
    pub fn new(settings: Settings, term: Term) -> Self {
        let queue = Queue::new(settings.queues.clone());
        Self {
            settings,
            workers: BTreeMap::new(),
            by_free: BTreeSet::new(),
            by_host: BTreeMap::new(),
            allocations: BTreeMap::new(),
            allocations_made: term.0 << 32,
            queue,
            slots_total: 0,
            slots_free: 0,
            next_heartbeat: None,
        }
    }

    /// The next one, without workers, of a member that begins to lead in a term or leads no more. What it gives out has other numbers than
    /// what this one gave: a member can begin to lead twice in one term, and then meets its own slots again.
    pub fn successor(&self, term: Term) -> Self {
        let next = Self::new(self.settings.clone(), term);
        Self { allocations_made: next.allocations_made.max(self.allocations_made), ..next }
    }

    /// Takes a worker in (its slots are given out by the next [`grant`](Self::grant)), or back in within its grace: then it keeps its allocations. Returns whether it was known.
    pub fn register(
        &mut self,
        registration: &Registration,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) -> bool {
        let id = &registration.worker;
        if let Some(worker) = self.workers.get_mut(id)
            && worker.slots == registration.slots
        {
            worker.came_back(registration, now);
            return true;
        }
        self.remove(id, "it registered anew with other slots", actions);
        let worker = Worker::new(registration, now);
        self.by_host.entry(worker.host.clone()).or_default().insert(id.clone());
        if worker.slots > 0 {
            self.by_free.insert((worker.slots, id.clone()));
        }
        self.slots_total += worker.slots;
        self.slots_free += worker.slots;
        self.workers.insert(id.clone(), worker);
        self.next_heartbeat.get_or_insert(now.after(self.settings.heartbeat_interval));
        self.queue.slots_changed(self.slots_total, now);
        false
    }

    /// Notes a sign of life.
    pub fn heard(&mut self, worker: &WorkerId, memory_used_bytes: Option<u64>, now: Timestamp) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.last_heard = now;
            worker.memory_used_bytes = memory_used_bytes.unwrap_or(worker.memory_used_bytes);
        }
    }

    /// The worker's connection broke; it has a short grace to come back.
    pub fn session_ended(&mut self, worker: &WorkerId, now: Timestamp) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.lost_at = Some(now.after(self.settings.session_grace));
        }
    }

    /// The worker is gone for good.
    pub fn worker_left(
        &mut self,
        worker: &WorkerId,
        reason: &str,
        actions: &mut Vec<Action>,
        now: Timestamp,
    ) {
        self.remove(worker, reason, actions);
        self.queue.slots_changed(self.slots_total, now);
    }

    /// Says where a job stands among others, before it asks for anything.
    pub fn introduce(&mut self, job: JobId, class: JobClass) {
        self.queue.introduce(job, class);
    }

    /// Asks for all the slots of a region at once; answered by `Grant` or `TimedOut` unless it is cancelled before. With
    /// `may_shrink` it gets fewer where the cluster has no more.
    pub fn request(
        &mut self,
        job: JobId,
        region: RegionId,
        wishes: Vec<SlotWish>,
        may_shrink: bool,
        timeout: Duration,
        now: Timestamp,
    ) {
        self.queue.push(job, region, wishes, may_shrink, timeout, self.slots_total, now);
    }

    /// Takes a request back.
    pub fn cancel_request(&mut self, job: JobId, region: RegionId) {
        self.queue.remove(job, region);
    }

    /// Takes note of a slot that an earlier leader gave to a job and that is still in use. A worker that has no slot left keeps it beside
    /// its own.
    pub fn adopt(&mut self, job: JobId, worker: &WorkerId, allocation: AllocationId) {
        let Some(held) = self.workers.get_mut(worker) else { return };
        let free = held.free();
        if free == 0 || self.allocations.contains_key(&allocation) {
            return;
        }
        held.allocations.insert(allocation, job);
        self.by_free.remove(&(free, worker.clone()));
        if free > 1 {
            self.by_free.insert((free - 1, worker.clone()));
        }
        self.slots_free -= 1;
        self.queue.adopted(job);
        self.allocations.insert(allocation, Allocation { job, worker: worker.clone() });
    }

    /// Gives a slot back. One that went with its worker is ignored.
    pub fn release(&mut self, allocation: AllocationId) {
        let Some(Allocation { job, worker }) = self.allocations.remove(&allocation) else { return };
        self.queue.released(job);
        let id = worker;
        let worker = self.workers.get_mut(&id).expect("an allocation goes with its worker");
        worker.allocations.remove(&allocation);
        let free = worker.free();
        self.by_free.remove(&(free - 1, id.clone()));
        self.by_free.insert((free, id));
        self.slots_free += 1;
    }

    /// Takes back everything that a job asked for and everything that it has.
    pub fn forget_job(&mut self, job: JobId) {
        let held: Vec<_> =
            self.allocations.iter().filter(|(_, held)| held.job == job).map(|(id, _)| *id).collect();
        held.into_iter().for_each(|allocation| self.release(allocation));
        self.queue.forget(job);
    }

    /// Grants what can be granted: to be called after requests and releases.
    pub fn grant(&mut self, actions: &mut Vec<Action>) {
        while self.slots_free > 0 {
            let free_hosts = self.by_free.iter().rev().map(|(_, worker)| self.workers[worker].host.as_str());
            let Some(request) = self.queue.pop(self.slots_free, self.slots_total, free_hosts) else { return };
            let slots = request.wishes.iter().map(|wish| self.allocate(request.job, wish)).collect();
            actions.push(Action::Grant { job: request.job, region: request.region, slots });
        }
    }

    fn allocate(&mut self, job: JobId, wish: &SlotWish) -> GrantedSlot {
        let local = wish.preferred_hosts.iter().find_map(|host| self.most_free_on(host));
        let (free, id) = local
            .or_else(|| self.by_free.last().cloned())
            .expect("the queue gives out requests that fit into the free slots");
        self.by_free.remove(&(free, id.clone()));
        if free > 1 {
            self.by_free.insert((free - 1, id.clone()));
        }
        self.slots_free -= 1;
        self.allocations_made += 1;
        let allocation = AllocationId(self.allocations_made);
        let worker = self.workers.get_mut(&id).expect("workers with free slots are registered");
        worker.allocations.insert(allocation, job);
        let location = worker.location.clone();
        self.allocations.insert(allocation, Allocation { job, worker: id });
        GrantedSlot { allocation, location }
    }

    fn most_free_on(&self, host: &str) -> Option<(u32, WorkerId)> {
        let workers = self.by_host.get(host)?.iter().map(|id| (self.workers[id].free(), id));
        workers.filter(|(free, _)| *free > 0).max().map(|(free, id)| (free, id.clone()))
    }

    /// Does what the time asks for: signs of life, lost workers, requests given up.
    pub fn tick(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.drop_silent_workers(now, actions);
        if self.next_heartbeat.is_some_and(|at| at <= now) {
            actions.extend(self.workers.keys().cloned().map(Action::Heartbeat));
            let next = now.after(self.settings.heartbeat_interval);
            self.next_heartbeat = (!self.workers.is_empty()).then_some(next);
        }
        while let Some(request) = self.queue.pop_expired(now) {
            let shortfall = self.shortfall_of(request.job, request.wishes.len());
            actions.push(Action::TimedOut { job: request.job, region: request.region, shortfall });
        }
    }

    fn drop_silent_workers(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let timeout = self.settings.heartbeat_timeout;
        let mut lost = Vec::new();
        for (id, worker) in &self.workers {
            if worker.lost_at.is_some_and(|at| at <= now) {
                lost.push((id.clone(), "its connection broke".to_owned()));
            } else if worker.last_heard.after(timeout) <= now {
                lost.push((id.clone(), format!("it was silent for {} ms", timeout.as_millis())));
            }
        }
        for (worker, reason) in lost {
            self.worker_left(&worker, &reason, actions, now);
        }
    }

    fn remove(&mut self, id: &WorkerId, reason: &str, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.remove(id) else { return };
        self.by_free.remove(&(worker.free(), id.clone()));
        self.slots_total -= worker.slots;
        self.slots_free -= worker.free();
        for allocation in worker.allocations.keys() {
            let held = self.allocations.remove(allocation).expect("each worker's allocations are listed");
            self.queue.released(held.job);
        }
        let on_host = self.by_host.get_mut(&worker.host).expect("every worker is listed under its host");
        on_host.remove(id);
        if on_host.is_empty() {
            self.by_host.remove(&worker.host);
        }
        actions.push(Action::Lost { worker: id.clone(), reason: reason.to_owned() });
    }

    /// When `tick` has something to do next.
    pub fn deadline(&self) -> Option<Timestamp> {
        let silent = self.workers.values().map(|worker| {
            let silent = worker.last_heard.after(self.settings.heartbeat_timeout);
            worker.lost_at.map_or(silent, |at| at.min(silent))
        });
        silent.chain(self.next_heartbeat).chain(self.queue.next_expiry()).min()
    }

    /// Why the job waits, if it does.
    pub fn shortfall(&self, job: JobId) -> Option<Shortfall> {
        self.queue.first_width(job, self.slots_total).map(|width| self.shortfall_of(job, width))
    }

    fn shortfall_of(&self, job: JobId, width: usize) -> Shortfall {
        let (free, total) = (self.slots_free, self.slots_total);
        let queue = self.queue.full(job, width as u32);
        Shortfall { needed: width as u32, free, total, workers: self.workers.len() as u32, queue }
    }

    /// The registered workers.
    pub fn workers(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.workers.iter()
    }

    /// One worker.
    pub fn worker(&self, id: &WorkerId) -> Option<&Worker> {
        self.workers.get(id)
    }

    /// All slots and the free ones.
    pub fn slots(&self) -> (u32, u32) {
        (self.slots_total, self.slots_free)
    }
}

#[cfg(test)]
mod tests;
