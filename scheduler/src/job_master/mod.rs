//! One job while it runs. Pure: events in, actions out; the time is an argument.
//!
//! Regions whose blocking inputs are complete ask for slots and are deployed whole. When everything that leaves the job has left
//! its tasks the output is committed; a failure that is not recovered from, or a cancel, stops all tasks and withdraws it.
//! How failures are met stands in `failover.rs`.

mod alignment;
mod checkpointing;
mod checkpoints;
mod deploy;
mod event;
pub mod event_time;
mod execution_graph;
mod failover;
mod finish;
mod rates;
mod region;
mod rescale;
mod restart_strategy;
mod take_over;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use thalweg_graph::{
    Attempt, Failure, JobEpoch, JobGraph, JobStatus, Options, RuntimeMode, SubtaskId, TaskMetrics,
    TaskReport, TaskState, VertexId, WorkerId, checkpoint::SubtaskSnapshot, options,
};
use thalweg_rpc::TaskUpdate;

pub use self::{
    alignment::AlignmentGroups,
    checkpoints::{SavepointOrder, savepoint_folder},
    event::{Action, Event},
    execution_graph::ExecutionGraph,
    region::break_cycles,
    take_over::Remembered,
};
use self::{
    checkpoints::{CheckpointSettings, Checkpoints},
    deploy::Deployment,
    execution_graph::Subtask,
    region::{Phase, Regions},
    restart_strategy::RestartStrategy,
    take_over::TakeOver,
};
pub use crate::resource_manager::RegionId;
use crate::{
    clock::Timestamp,
    resource_manager::{AllocationId, GrantedSlot, JobClass, Location},
    view::FailureRecord,
};

/// How long a job that ends waits for its tasks to stop. A task that does not stop in this time is left to its worker.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// What a job's options say to its master.
#[derive(Debug, Clone)]
pub struct Settings {
    strategy: RestartStrategy,
    failures_kept: usize,
    /// How long a request for slots that the cluster is too small for is kept.
    pub slot_timeout: Duration,
    /// Where the job stands among others that wait for slots.
    pub class: JobClass,
    checkpoints: CheckpointSettings,
}

impl Settings {
    /// Reads them.
    pub fn read(job: &Options) -> Result<Self, options::InvalidValue> {
        Ok(Self {
            strategy: RestartStrategy::read(job)?,
            failures_kept: job.get(&options::EXCEPTION_HISTORY)? as usize,
            slot_timeout: job.get(&options::SLOT_REQUEST_TIMEOUT)?,
            class: JobClass {
                queue: job.get(&options::JOB_QUEUE)?.into(),
                priority: job.get(&options::JOB_PRIORITY)?,
            },
            checkpoints: CheckpointSettings::read(job)?,
        })
    }
}

/// A slot that the job has.
#[derive(Debug)]
struct HeldSlot {
    location: Arc<Location>,
    /// Tasks in it that have not answered for the last time.
    live: u32,
}

/// What the job is about.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// Finding out what another leader has left.
    Reconciling,
    /// Running tasks.
    Executing,
    /// Making its output visible.
    Committing,
    /// Its output is visible; waits for tasks that nobody needs any more.
    Draining { until: Timestamp },
    /// Waiting for its tasks to stop before the output is withdrawn.
    Stopping { until: Timestamp },
    /// Waiting for the quorum to know that it ends without output.
    Deciding,
    /// Withdrawing its output.
    Aborting,
    /// Over.
    Ended,
}

/// A running job.
#[derive(Debug)]
pub struct JobMaster {
    execution: ExecutionGraph,
    regions: Regions,
    options: Arc<Options>,
    epoch: JobEpoch,
    /// Counts restarts of any part of the job: the number of the attempts that they make, so that none is used twice.
    generation: u32,
    /// The generation that the quorum knows of: none is deployed before.
    generation_noted: u32,
    /// While the job is taken over from another leader.
    take_over: Option<TakeOver>,
    settings: Settings,
    /// Of a stream.
    checkpoints: Option<Checkpoints>,
    stage: Stage,
    status: JobStatus,
    status_times: BTreeMap<JobStatus, Timestamp>,
    slots: BTreeMap<AllocationId, HeldSlot>,
    /// Attempts that were told to stop and have not answered.
    strays: BTreeMap<Attempt, AllocationId>,
    /// Regions that wait for their restart.
    delayed: BTreeSet<(Timestamp, RegionId)>,
    /// Workers that had tasks of this job.
    workers: BTreeSet<WorkerId>,
    /// Whether a task was deployed: it may have staged something.
    deployed: bool,
    panics: BTreeSet<(VertexId, String)>,
    failures: VecDeque<FailureRecord>,
    failures_dropped: bool,
    restarts: u32,
    /// Of a stream: sources that keep pace with each other.
    alignment: AlignmentGroups,
    /// Whether tasks are deployed with joins that spill: memory has run out.
    spills_joins: bool,
    failure: Option<Failure>,
    actions: Vec<Action>,
}

impl JobMaster {
    /// A master for an accepted job: its graph is valid and without cycles of regions (see [`break_cycles`]).
    pub fn new(graph: Arc<JobGraph>, epoch: JobEpoch, settings: Settings, now: Timestamp) -> Self {
        let is_stream = graph.mode == RuntimeMode::Streaming;
        let mut checkpoints = settings.checkpoints.clone();
        if graph.has_live_result() {
            // It does not go on after a failure.
            checkpoints.interval = None;
        }
        let checkpoints = is_stream.then(|| Checkpoints::new(graph.job, checkpoints));
        Self {
            checkpoints,
            regions: Regions::of(&graph),
            options: Arc::new(graph.options.clone()),
            execution: ExecutionGraph::new(graph),
            epoch,
            generation: 0,
            generation_noted: 0,
            take_over: None,
            settings,
            stage: Stage::Executing,
            status: JobStatus::Created,
            status_times: [(JobStatus::Created, now)].into(),
            slots: BTreeMap::new(),
            strays: BTreeMap::new(),
            delayed: BTreeSet::new(),
            workers: BTreeSet::new(),
            deployed: false,
            panics: BTreeSet::new(),
            failures: VecDeque::new(),
            failures_dropped: false,
            restarts: 0,
            alignment: AlignmentGroups::default(),
            spills_joins: false,
            failure: None,
            actions: Vec::new(),
        }
    }

    /// Takes an event in and says what must be done.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        match event {
            event if self.stage == Stage::Reconciling => self.reconcile(event, now),
            Event::Start => self.start(now),
            Event::OutputRecovered(outcome) => self.output_recovered(outcome, now),
            Event::SlotsGranted { region, slots } => self.slots_granted(region, slots, now),
            Event::SlotsRefused { region, reason } => self.slots_refused(region, reason, now),
            Event::Task { worker, attempt, update } => self.task_changed(&worker, attempt, update, now),
            Event::Reports(tasks) => self.note_reports(tasks, now),
            Event::WorkerLost { worker, reason } => {
                self.worker_lost(&worker, &reason, now);
                self.renew_requests();
            }
            Event::WorkerReturned { location, running, ended, partitions } => {
                for (attempt, update) in ended {
                    if self.execution.current(attempt).is_some_and(Subtask::is_live) {
                        self.task_changed(&location.worker, attempt, update, now);
                    }
                }
                self.worker_returned(&location.worker, &running, &partitions, now);
            }
            Event::RestartNoted(generation) => {
                self.generation_noted = self.generation_noted.max(generation);
                self.restart_delayed(now);
                self.request_ready();
            }
            Event::Rescaled { graph, generation } => self.rescaled(graph, generation, now),
            Event::EndDecided => self.end_decided(),
            Event::Reconciled => {}
            Event::Cancel => self.cancel(now),
            Event::Committed(outcome) => self.committed(outcome, now),
            Event::Aborted => self.aborted(now),
            Event::Snapshot { attempt, checkpoint, snapshot } => {
                self.snapshot_taken(attempt, checkpoint, snapshot.map(|snapshot| *snapshot), now);
            }
            Event::CheckpointStored { checkpoint, outcome } => {
                self.checkpoint_stored(checkpoint, outcome, now)
            }
            Event::CheckpointCommitted { checkpoint, outcome } => {
                self.checkpoint_committed(checkpoint, outcome, now);
            }
            Event::SourceTime { attempt, group, watermark_ms, max_drift_ms } => {
                self.align_source(attempt, &group, watermark_ms, max_drift_ms);
            }
            Event::Savepoint(order) => self.order_savepoint(order, now),
            Event::Tick => self.tick(now),
        }
        let refused = self.checkpoints.iter_mut().flat_map(|checkpoints| checkpoints.refused.drain(..));
        let refused = refused.map(|(trigger, why)| Action::RefuseSavepoint { trigger, why });
        // Before the end of a job that has ended.
        let at = self.actions.iter().position(|action| matches!(action, Action::Ended { .. }));
        let refused: Vec<_> = refused.collect();
        let at = at.unwrap_or(self.actions.len());
        self.actions.splice(at..at, refused);
        std::mem::take(&mut self.actions)
    }

    /// When a `Tick` has something to do next.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Executing => {
                let checkpoints = self.checkpoints.as_ref();
                let restart = self.delayed.first().map(|(until, _)| *until);
                // Whoever waits for a commit, or for the quorum, is told when it is through.
                let restart = restart.filter(|_| !checkpoints.is_some_and(Checkpoints::is_committing));
                let restart = restart.filter(|_| self.generation_noted == self.generation);
                restart.into_iter().chain(checkpoints.and_then(Checkpoints::deadline)).min()
            }
            Stage::Stopping { until } | Stage::Draining { until } => Some(until),
            Stage::Reconciling | Stage::Committing | Stage::Deciding | Stage::Aborting | Stage::Ended => None,
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.restart_delayed(now);
        self.checkpoint_tick(now);
        self.end_if_stopped(now);
    }

    fn set_status(&mut self, status: JobStatus, now: Timestamp) {
        if self.status != status {
            self.status = status;
            self.status_times.insert(status, now);
        }
    }

    fn request_ready(&mut self) {
        self.regions.ids().for_each(|region| self.request_if_ready(region));
    }

    /// Asks for a region's slots if all that it reads over blocking edges is there.
    fn request_if_ready(&mut self, id: RegionId) {
        let region = &self.regions[id];
        if region.phase != Phase::Waiting
            || self.stage != Stage::Executing
            || self.generation_noted < self.generation
        {
            return;
        }
        let execution = &self.execution;
        let mut inputs = region.vertices.iter().flat_map(|vertex| &execution.vertices[vertex.index()].inputs);
        if !inputs.all(|edge| execution.edge_ready(*edge)) {
            return;
        }
        self.regions[id].phase = Phase::Requested;
        for subtask in self.subtasks_of(id) {
            self.execution.set_state(subtask, TaskState::Scheduled);
        }
        self.request_slots(id);
    }

    fn request_slots(&mut self, id: RegionId) {
        let region = &self.regions[id];
        let wishes = region.subtasks.clone().map(|i| self.execution.slot_wish(&region.vertices, i)).collect();
        // A job that has begun goes on with what the cluster has left: better slowly than not at all.
        let may_shrink = self.status != JobStatus::Created;
        self.actions.push(Action::RequestSlots { region: id, wishes, may_shrink });
    }

    /// Asks again for what was asked for before the job had begun: the cluster may have become too small for it.
    fn renew_requests(&mut self) {
        if self.status == JobStatus::Created || self.stage != Stage::Executing {
            return;
        }
        for region in self.regions.ids() {
            if self.regions[region].phase == Phase::Requested {
                self.actions.push(Action::CancelRequest(region));
                self.request_slots(region);
            }
        }
    }

    fn subtasks_of(&self, id: RegionId) -> Vec<SubtaskId> {
        let region = &self.regions[id];
        let of_vertex = |vertex: &VertexId| {
            let parallelism = self.execution.vertices[vertex.index()].subtasks.len() as u32;
            let range = region.subtasks.start..region.subtasks.end.min(parallelism);
            let vertex = *vertex;
            range.map(move |index| SubtaskId { vertex, index })
        };
        region.vertices.iter().flat_map(of_vertex).collect()
    }

    fn slots_granted(&mut self, id: RegionId, slots: Vec<GrantedSlot>, now: Timestamp) {
        if self.regions[id].phase != Phase::Requested || self.stage != Stage::Executing || slots.is_empty() {
            self.actions.extend(slots.into_iter().map(|slot| Action::ReleaseSlot(slot.allocation)));
            return;
        }
        self.regions[id].phase = Phase::Running;
        self.deployed = true;
        self.set_status(JobStatus::Running, now);
        for GrantedSlot { allocation, location } in &slots {
            self.workers.insert(location.worker.clone());
            self.slots.insert(*allocation, HeldSlot { location: location.clone(), live: 0 });
        }
        let (first, subtasks) = (self.regions[id].subtasks.start, self.subtasks_of(id));
        for subtask in &subtasks {
            let GrantedSlot { allocation, location } = &slots[(subtask.index - first) as usize % slots.len()];
            self.slots.get_mut(allocation).expect("inserted above").live += 1;
            self.execution.set_state(*subtask, TaskState::Deploying);
            let subtask = self.execution.subtask_mut(*subtask);
            subtask.slot = Some((*allocation, location.clone()));
            subtask.started = Some(now);
        }
        // Only now are all producers' places known.
        let mut orders = BTreeMap::<&WorkerId, Vec<_>>::new();
        let (epoch, spills_joins) = (self.epoch, self.spills_joins);
        let deployment = Deployment { epoch, spills_joins, checkpoints: self.checkpoint_folder() };
        for subtask in subtasks {
            let order = self.execution.descriptor(subtask, deployment.clone(), &self.options);
            let location = &slots[(subtask.index - first) as usize % slots.len()].location;
            orders.entry(&location.worker).or_default().push(order);
        }
        for (worker, tasks) in orders {
            self.actions.push(Action::Deploy { worker: worker.clone(), tasks });
        }
    }

    fn task_changed(&mut self, worker: &WorkerId, attempt: Attempt, update: TaskUpdate, now: Timestamp) {
        let ends = !matches!(update, TaskUpdate::Running);
        if let Some(allocation) = self.strays.get(&attempt).copied() {
            // One that had finished when it was told to stop has counted to its end.
            if let TaskUpdate::Finished { metrics, .. } | TaskUpdate::Failed { metrics, .. } = &update
                && self.execution.current(attempt).is_some()
            {
                self.execution.subtask_mut(attempt.subtask).metrics = *metrics;
            }
            if ends {
                self.strays.remove(&attempt);
                self.stray_ended(attempt, now);
                self.task_left_slot(allocation);
            }
            if let TaskUpdate::Failed { failure, .. } = update {
                self.stray_failed(failure.of(attempt, worker.clone()), now);
            }
            return self.end_if_stopped(now);
        }
        let is_current = self.execution.current(attempt).is_some_and(|subtask| {
            subtask.is_live() && subtask.location().is_some_and(|location| location.worker == *worker)
        });
        if !is_current {
            if !ends {
                self.actions.push(Action::CancelTask { worker: worker.clone(), attempt });
            }
            return;
        }
        match update {
            TaskUpdate::Running => {
                self.execution.set_state(attempt.subtask, TaskState::Running);
                self.plan_checkpoints(now);
            }
            TaskUpdate::Finished { metrics, committables, last } => {
                self.execution.subtask_mut(attempt.subtask).committables = committables.clone();
                self.attempt_ended(attempt, TaskState::Finished, metrics, now);
                let last = last.map(|last| *last).unwrap_or_default();
                self.note_last_snapshot(attempt.subtask, SubtaskSnapshot { committables, ..last });
                self.task_finished(attempt, now);
            }
            TaskUpdate::Failed { failure, metrics } => {
                self.attempt_ended(attempt, TaskState::Failed, metrics, now);
                self.task_failed(failure.of(attempt, worker.clone()), now);
            }
            TaskUpdate::Canceled => {
                let metrics = self.execution.subtask(attempt.subtask).metrics;
                self.attempt_ended(attempt, TaskState::Failed, metrics, now);
                self.task_failed(not_running(attempt, worker), now);
            }
        }
    }

    fn attempt_ended(&mut self, attempt: Attempt, state: TaskState, metrics: TaskMetrics, now: Timestamp) {
        self.execution.set_state(attempt.subtask, state);
        self.alignment.forget(attempt.subtask);
        let subtask = self.execution.subtask_mut(attempt.subtask);
        subtask.metrics = metrics;
        subtask.ended = Some(now);
        let (allocation, _) = subtask.slot.clone().expect("a deployed subtask has a slot");
        self.task_left_slot(allocation);
    }

    /// A task in a slot has answered for the last time; the last one frees the slot.
    fn task_left_slot(&mut self, allocation: AllocationId) {
        let Some(slot) = self.slots.get_mut(&allocation) else { return };
        slot.live -= 1;
        if slot.live == 0 {
            self.slots.remove(&allocation);
            self.actions.push(Action::ReleaseSlot(allocation));
        }
    }

    fn task_finished(&mut self, attempt: Attempt, now: Timestamp) {
        let vertex = attempt.subtask.vertex;
        if self.execution.vertices[vertex.index()].output.is_result() {
            self.actions.push(Action::PublishResult(attempt));
        }
        let region = self.regions.of_subtask(attempt.subtask);
        let region = &mut self.regions[region];
        region.unfinished -= 1;
        if region.unfinished == 0 {
            region.phase = Phase::Finished;
        }
        if self.execution.vertex_finished(vertex) {
            self.vertex_finished(vertex);
            if self.execution.output_complete() {
                self.output_complete(now);
            }
        }
    }

    fn vertex_finished(&mut self, vertex: VertexId) {
        let outputs = self.execution.vertices[vertex.index()].outputs.clone();
        for edge in outputs.into_iter().filter(|edge| !self.execution.is_pipelined(*edge)).collect::<Vec<_>>()
        {
            let target = self.execution.graph.edges[edge.index()].target;
            let parallelism = self.execution.graph.vertices[target.index()].parallelism;
            for region in self.regions.of_vertex(target, parallelism) {
                self.request_if_ready(region);
            }
        }
        self.release_inputs(vertex);
    }

    fn note_reports(&mut self, tasks: Vec<TaskReport>, now: Timestamp) {
        for TaskReport { attempt, metrics, splits } in tasks {
            if self.execution.current(attempt).is_some_and(|subtask| subtask.is_live()) {
                let subtask = self.execution.subtask_mut(attempt.subtask);
                subtask.meter.note(&metrics, now);
                subtask.metrics = metrics;
                subtask.splits = splits;
            }
        }
    }

    /// The job as deployed, for readers.
    pub fn execution(&self) -> &ExecutionGraph {
        &self.execution
    }

    /// Where it stands, and since when in each status.
    pub fn status(&self) -> (JobStatus, &BTreeMap<JobStatus, Timestamp>) {
        (self.status, &self.status_times)
    }

    /// The newest failures, oldest first, and whether older ones were dropped.
    pub fn failures(&self) -> (&VecDeque<FailureRecord>, bool) {
        (&self.failures, self.failures_dropped)
    }

    /// The failure that ends it.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// How often some part of it was restarted.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }
}

fn not_running(attempt: Attempt, worker: &WorkerId) -> Failure {
    let message = format!("worker `{worker}` does not run task `{attempt}` any more");
    Failure::new(thalweg_graph::FailureKind::WorkerLost, message).of(attempt, worker.clone())
}

#[cfg(test)]
mod checkpoint_tests;
#[cfg(test)]
mod rescale_tests;
#[cfg(test)]
mod stream_testing;
#[cfg(test)]
mod tests;
