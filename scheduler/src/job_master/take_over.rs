//! A leader takes a job over whose tasks another leader has started.
//!
//! What workers say of the job is gathered until every worker that was known has spoken, or had its time to. Then each region of which
//! every subtask is there, of one attempt, is adopted as it is and restarts nothing; what runs and was not adopted is told to stop; what
//! is missing runs again, with attempts of a new number, so that a worker that comes late cannot have the same.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use thalweg_graph::{
    Attempt, CheckpointId, Failure, FailureKind, JobEpoch, JobGraph, JobStatus, SubtaskId, TaskState,
    WorkerId,
    checkpoint::{AfterBarrier, Barrier, CompletedCheckpoint},
    exchange::ResultPartitionId,
    table::SinkOutput,
};
use thalweg_rpc::{RunningTask, TaskUpdate};

use super::{
    Action, Event, HeldSlot, JobMaster, RegionId, STOP_TIMEOUT, SavepointOrder, Settings, Stage,
    checkpoints::{Pending, Step},
    region::Phase,
};
use crate::{
    clock::Timestamp,
    resource_manager::{AllocationId, Location},
};

/// Numbers of checkpoints that are left out where tasks are missing: they may have met barriers that nobody tells of.
const BARRIERS_UNKNOWN: u64 = 16;

/// What the quorum remembers of a job.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// The newest restart.
    pub generation: u32,
    /// The number of the first attempts of the job's graph: older ones are of a graph that was replaced.
    pub graph_since: u32,
    /// How many of the restarts were none: the job had got another graph.
    pub rescales: u32,
    /// The newest complete checkpoints, oldest first.
    pub checkpoints: VecDeque<CompletedCheckpoint>,
    /// The newest that is complete, a savepoint too.
    pub complete_upto: Option<CheckpointId>,
    /// The manifest that it goes on from.
    pub restored: Option<String>,
    /// The checkpoint whose output is not known to be visible.
    pub open_commit: Option<(CheckpointId, Vec<SinkOutput>)>,
    /// What is to be made visible at its end, if that is decided.
    pub commit: Option<Vec<SinkOutput>>,
    /// How it ends without output, if that is decided.
    pub ending: Option<(JobStatus, Option<Failure>)>,
    /// Whether the user wants it to end.
    pub cancel_wished: bool,
    /// Savepoints that were asked for and are not complete.
    pub savepoints: Vec<SavepointOrder>,
}

/// What is gathered while a job is taken over.
#[derive(Debug)]
pub(super) struct TakeOver {
    remembered: Remembered,
    found: BTreeMap<SubtaskId, BTreeMap<u32, Found>>,
    partitions: BTreeSet<ResultPartitionId>,
}

/// A task that a worker has.
#[derive(Debug)]
struct Found {
    location: Arc<Location>,
    what: What,
}

#[derive(Debug)]
enum What {
    Running(RunningTask),
    /// It ended before its worker registered: what is left of its output, the registration says.
    Ended(TaskUpdate),
    /// It has ended since.
    EndedSince(TaskUpdate),
}

impl What {
    fn end(&self) -> Option<&TaskUpdate> {
        match self {
            What::Running(_) => None,
            What::Ended(update) | What::EndedSince(update) => Some(update),
        }
    }
}

impl TakeOver {
    fn note_worker(
        &mut self,
        location: Arc<Location>,
        running: Vec<RunningTask>,
        ended: Vec<(Attempt, TaskUpdate)>,
        partitions: BTreeSet<ResultPartitionId>,
    ) {
        self.forget_worker(&location.worker);
        self.partitions.extend(partitions);
        let running = running.into_iter().map(|task| (task.attempt, What::Running(task)));
        let ended = ended.into_iter().map(|(attempt, update)| (attempt, What::Ended(update)));
        for (Attempt { subtask, number, .. }, what) in running.chain(ended) {
            let found = Found { location: location.clone(), what };
            self.found.entry(subtask).or_default().insert(number, found);
        }
    }

    fn note_update(&mut self, worker: &WorkerId, attempt: Attempt, update: TaskUpdate) {
        let attempts = self.found.get_mut(&attempt.subtask);
        let found = attempts.and_then(|attempts| attempts.get_mut(&attempt.number));
        let Some(found) = found.filter(|found| found.location.worker == *worker) else { return };
        match (&mut found.what, update) {
            (What::Running(task), TaskUpdate::Running) => task.state = TaskState::Running,
            (_, update) => found.what = What::EndedSince(update),
        }
    }

    fn forget_worker(&mut self, worker: &WorkerId) {
        for attempts in self.found.values_mut() {
            attempts.retain(|_, found| found.location.worker != *worker);
        }
        self.found.retain(|_, attempts| !attempts.is_empty());
    }

    fn newest(&self, subtask: SubtaskId) -> Option<u32> {
        let newest = self.found.get(&subtask)?.keys().next_back().copied();
        newest.filter(|number| *number >= self.remembered.graph_since)
    }

    fn get(&self, subtask: SubtaskId, number: u32) -> Option<&Found> {
        self.found.get(&subtask)?.get(&number)
    }

    /// Whether tasks have ended under the leader before.
    fn has_ended(&self) -> bool {
        let mut found = self.found.values().flat_map(BTreeMap::values);
        found.any(|found| matches!(found.what, What::Ended(_) | What::EndedSince(_)))
    }

    /// The newest checkpoint whose barrier is known to be under way or through.
    fn newest_barrier(&self) -> Option<CheckpointId> {
        let found = self.found.values().flat_map(BTreeMap::values);
        found
            .filter_map(|found| match &found.what {
                What::Running(task) => task.barrier,
                What::Ended(_) | What::EndedSince(_) => None,
            })
            .max()
    }
}

impl JobMaster {
    /// A master for a job that another leader has run: it waits for [`Event::Reconciled`] and gathers meanwhile.
    pub fn take_over(
        graph: Arc<JobGraph>,
        epoch: JobEpoch,
        settings: Settings,
        remembered: Remembered,
        now: Timestamp,
    ) -> Self {
        let mut master = Self::new(graph, epoch, settings, now);
        master.stage = Stage::Reconciling;
        master.set_status(JobStatus::Reconciling, now);
        master.generation = remembered.generation;
        master.generation_noted = remembered.generation;
        master.restarts = remembered.generation.saturating_sub(remembered.rescales);
        if let Some(checkpoints) = &mut master.checkpoints {
            checkpoints.completed = remembered.checkpoints.clone();
            checkpoints.complete_upto = remembered.complete_upto;
            if remembered.restored.is_some() {
                checkpoints.restored = remembered.restored.clone();
            }
        }
        let (found, partitions) = Default::default();
        master.take_over = Some(TakeOver { remembered, found, partitions });
        master
    }

    /// Takes an event in while the job is being taken over.
    pub(super) fn reconcile(&mut self, event: Event, now: Timestamp) {
        let Some(over) = &mut self.take_over else { return };
        match event {
            Event::WorkerReturned { location, running, ended, partitions } => {
                if !running.is_empty() || !ended.is_empty() || !partitions.is_empty() {
                    self.workers.insert(location.worker.clone());
                }
                over.note_worker(location, running, ended, partitions);
            }
            Event::Task { worker, attempt, update } => over.note_update(&worker, attempt, update),
            Event::WorkerLost { worker, .. } => over.forget_worker(&worker),
            Event::Cancel => over.remembered.cancel_wished = true,
            Event::Rescaled { graph, generation } => {
                over.remembered.graph_since = generation;
                self.generation = generation;
                self.generation_noted = generation;
                self.replace_graph(graph);
            }
            Event::Savepoint(order) => self.order_savepoint(order, now),
            Event::Reconciled => self.reconciled(now),
            // Whatever else comes was meant for the leader before.
            _ => {}
        }
    }

    fn reconciled(&mut self, now: Timestamp) {
        let Some(mut over) = self.take_over.take() else { return };
        self.stage = Stage::Executing;
        self.number_checkpoints(over.newest_barrier(), over.has_ended());
        if let Some(sinks) = over.remembered.commit.take() {
            self.stop_strays(&over);
            self.set_status(JobStatus::Running, now);
            self.stage = Stage::Committing;
            return self.actions.push(Action::Commit(sinks));
        }
        if let Some((status, failure)) = over.remembered.ending.take() {
            self.stop_strays(&over);
            self.failure = failure;
            let failing = status == JobStatus::Failed;
            self.set_status(if failing { JobStatus::Failing } else { JobStatus::Cancelling }, now);
            self.deployed = true;
            self.stage = Stage::Stopping { until: now.after(STOP_TIMEOUT) };
            return self.end_if_stopped(now);
        }
        if let Some((checkpoint, sinks)) = over.remembered.open_commit.take() {
            self.commit_again(checkpoint, sinks, now);
        }
        // Of one that has completed a checkpoint, tasks did run, though none was found.
        self.deployed = over.remembered.generation > 0
            || !over.found.is_empty()
            || !over.remembered.checkpoints.is_empty();
        let (mut broken, missing) = self.adopt_regions(&over);
        self.stop_strays(&over);
        let orders = std::mem::take(&mut over.remembered.savepoints);
        if orders.iter().any(|order| order.then != AfterBarrier::GoOn) && self.has_stopped_source() {
            // Behind a barrier that was to end the job sources have stopped: only a restart brings them back.
            broken.extend(self.regions.ids().filter(|id| !missing.contains(id)));
        }
        self.go_on(broken, missing, now);
        orders.into_iter().for_each(|order| self.order_savepoint(order, now));
        if over.remembered.cancel_wished {
            self.cancel(now);
        }
    }

    /// Adopts every region that is there whole. Returns those of which a part is there, and those of which nothing is.
    fn adopt_regions(&mut self, over: &TakeOver) -> (BTreeSet<RegionId>, BTreeSet<RegionId>) {
        let (mut broken, mut missing) = (BTreeSet::new(), BTreeSet::new());
        for id in self.regions.ids() {
            let subtasks = self.subtasks_of(id);
            let newest = subtasks.iter().filter_map(|subtask| over.newest(*subtask)).max();
            let Some(number) = newest else {
                missing.insert(id);
                continue;
            };
            let found: Option<Vec<_>> =
                subtasks.iter().map(|subtask| Some((*subtask, over.get(*subtask, number)?))).collect();
            let found = found.filter(|found| found.iter().all(|(id, found)| self.can_adopt(*id, found)));
            let Some(found) = found else {
                broken.insert(id);
                continue;
            };
            let mut unfinished = 0;
            for (subtask, found) in found {
                unfinished += u32::from(self.adopt(subtask, number, found));
            }
            self.regions[id].unfinished = unfinished;
            self.regions[id].phase = if unfinished == 0 { Phase::Finished } else { Phase::Running };
        }
        for id in self.execution.subtask_ids().collect::<Vec<_>>() {
            let number = self.execution.subtask(id).attempt;
            let ended = over.get(id, number).is_some_and(|found| matches!(found.what, What::Ended(_)));
            let finished = self.execution.subtask(id).state() == TaskState::Finished && ended;
            if finished && !self.holds(id, &over.partitions) {
                self.execution.subtask_mut(id).output_lost = true;
                if self.output_needed(id) {
                    broken.insert(self.regions.of_subtask(id));
                }
            }
        }
        (broken, missing)
    }

    fn has_stopped_source(&self) -> bool {
        let sources = self.execution.vertices.iter().filter(|vertex| vertex.inputs.is_empty());
        sources.flat_map(|vertex| &vertex.subtasks).any(|subtask| subtask.state() == TaskState::Finished)
    }

    /// Rows for a client went to the leader that is gone, as far as they went: such a task runs again.
    fn can_adopt(&self, id: SubtaskId, found: &Found) -> bool {
        let sends_result = self.execution.vertices[id.vertex.index()].output.is_result();
        !sends_result
            && match &found.what {
                What::Running(task) => task.epoch == self.epoch,
                ended => matches!(ended.end(), Some(TaskUpdate::Finished { .. })),
            }
    }

    /// Takes a task over as it is. Returns whether it still runs.
    fn adopt(&mut self, id: SubtaskId, number: u32, found: &Found) -> bool {
        self.execution.subtask_mut(id).attempt = number;
        match &found.what {
            What::Running(task) => {
                let allocation = self.hold(AllocationId(task.slot), &found.location);
                self.execution.set_state(id, task.state);
                self.execution.subtask_mut(id).slot = Some((allocation, found.location.clone()));
                true
            }
            ended => {
                self.execution.set_state(id, TaskState::Finished);
                // Its slot is not its own any more.
                self.execution.subtask_mut(id).slot = Some((AllocationId(0), found.location.clone()));
                if let Some(TaskUpdate::Finished { metrics, committables, last }) = ended.end() {
                    let subtask = self.execution.subtask_mut(id);
                    subtask.metrics = *metrics;
                    subtask.committables = committables.clone();
                    if let Some(checkpoints) = &mut self.checkpoints {
                        let mut last = last.as_deref().cloned().unwrap_or_default();
                        last.committables = committables.clone();
                        checkpoints.last.insert(id, last);
                    }
                }
                false
            }
        }
    }

    fn hold(&mut self, allocation: AllocationId, location: &Arc<Location>) -> AllocationId {
        if !self.slots.contains_key(&allocation) {
            let worker = location.worker.clone();
            self.actions.push(Action::AdoptSlot { worker, allocation });
        }
        let slot =
            self.slots.entry(allocation).or_insert_with(|| HeldSlot { location: location.clone(), live: 0 });
        slot.live += 1;
        allocation
    }

    /// Tells everything to stop that runs and was not adopted.
    fn stop_strays(&mut self, over: &TakeOver) {
        for attempts in over.found.values() {
            for found in attempts.values() {
                let What::Running(task) = &found.what else { continue };
                // Only what was adopted is the current attempt of its subtask.
                if self.execution.current(task.attempt).is_some() {
                    continue;
                }
                let allocation = self.hold(AllocationId(task.slot), &found.location);
                self.strays.insert(task.attempt, allocation);
                let worker = found.location.worker.clone();
                self.actions.push(Action::CancelTask { worker, attempt: task.attempt });
            }
        }
    }

    /// What is there goes on, what is not runs again.
    fn go_on(&mut self, broken: BTreeSet<RegionId>, missing: BTreeSet<RegionId>, now: Timestamp) {
        let any_adopted = broken.len() + missing.len() < self.regions.ids().count();
        let begun = any_adopted || !broken.is_empty();
        self.set_status(if begun { JobStatus::Running } else { JobStatus::Created }, now);
        if !missing.is_empty() {
            self.begin_generation();
            for subtask in missing.iter().flat_map(|id| self.subtasks_of(*id)).collect::<Vec<_>>() {
                self.execution.subtask_mut(subtask).attempt = self.generation;
            }
        }
        if let Some(checkpoints) = &mut self.checkpoints
            && !(broken.is_empty() && missing.is_empty())
        {
            checkpoints.skip(BARRIERS_UNKNOWN);
        }
        if !broken.is_empty() {
            let message = "another JobManager leads, and not every task of the job was found again";
            let failure = Failure::new(FailureKind::WorkerLost, message);
            self.record(&failure, now);
            self.recover(broken, failure, false, now);
        }
        if !begun {
            return self.start(now);
        }
        for vertex in self.execution.vertices.iter().map(|vertex| vertex.id).collect::<Vec<_>>() {
            if self.execution.vertex_finished(vertex) {
                self.release_inputs(vertex);
            }
        }
        if self.stage != Stage::Executing {
            return;
        }
        self.request_ready();
        if self.execution.output_complete() {
            return self.output_complete(now);
        }
        self.plan_checkpoints(now);
        if let Some(checkpoints) = &mut self.checkpoints
            && checkpoints.next_at.is_some()
        {
            // The one before was given up.
            checkpoints.next_at = Some(now);
        }
    }

    /// Goes on behind the newest barrier that is known; a task that has ended may have met newer ones, and does not tell.
    fn number_checkpoints(&mut self, newest_barrier: Option<CheckpointId>, has_ended: bool) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.go_on_behind(newest_barrier.max(checkpoints.complete_upto));
            if has_ended {
                checkpoints.skip(BARRIERS_UNKNOWN);
            }
        }
    }

    /// A checkpoint was complete, and its output may not be visible.
    fn commit_again(&mut self, checkpoint: CheckpointId, sinks: Vec<SinkOutput>, now: Timestamp) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let barrier = Barrier { checkpoint, savepoint: None, then: AfterBarrier::GoOn };
        let (waiting, snapshots) = Default::default();
        let (triggered, step) = (now, Step::Committing);
        checkpoints.pending = Some(Pending { barrier, triggered, waiting, snapshots, step, trigger: None });
        self.actions.push(Action::CommitCheckpoint { checkpoint, sinks });
    }
}
