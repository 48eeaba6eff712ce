//! How a streaming job takes checkpoints and goes on from them.
//!
//! Sources are told to let a barrier pass; every subtask answers when what it keeps is stored. When all have, the manifest is written; once
//! it is, the checkpoint is the one to go on from, and what sinks have prepared is made visible. A task that fails before that gives the
//! checkpoint up; after it, tasks start again only when the commit is through, so that no writer of theirs takes back what it makes visible.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_graph::{
    Attempt, CheckpointId, Failure, FailureKind, JobStatus, SubtaskId, TaskState, VertexOutput, WorkerId,
    checkpoint::{AfterBarrier, Barrier, CompletedCheckpoint, Manifest, SubtaskSnapshot},
    options,
    table::SinkOutput,
    task::CheckpointFolder,
};

use super::{
    Action, ExecutionGraph, JobMaster, Stage,
    checkpoints::{Checkpoints, Pending, SavepointOrder, Step},
};
use crate::{
    clock::Timestamp,
    view::{CheckpointCounts, CheckpointRecord, CheckpointStatus, RestoredCheckpoint, SavepointStatus},
};

impl JobMaster {
    /// Begins. What is recovered from a checkpoint of another job has to be made visible before tasks of this one take the sinks over.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.count_restore(now);
        let restored = self.checkpoints.as_ref().and_then(|checkpoints| checkpoints.restored.clone());
        match restored {
            Some(manifest) => {
                let sinks = self.sinks(false);
                self.actions.push(Action::RecoverOutput { manifest, sinks });
            }
            None => self.request_ready(),
        }
    }

    /// What the checkpoint that the job begins with has left is visible, or cannot be made so.
    pub(super) fn output_recovered(&mut self, outcome: Result<(), Failure>, now: Timestamp) {
        match outcome {
            Ok(()) => self.request_ready(),
            Err(failure) => {
                self.record(&failure, now);
                self.fail(failure, now);
            }
        }
    }

    /// Begins the checkpoint that is due, or gives up the one that takes too long.
    pub(super) fn checkpoint_tick(&mut self, now: Timestamp) {
        let Some(checkpoints) = &self.checkpoints else { return };
        if checkpoints.deadline().is_none_or(|at| at > now) {
            return;
        }
        if checkpoints.pending.is_some() {
            let timeout = humantime::format_duration(checkpoints.settings.timeout);
            let why = format!("it was not complete within {timeout}; {}", self.who_is_missing());
            return self.checkpoint_failed(why, false, now);
        }
        self.begin_checkpoint(None, now);
    }

    /// Plans the first checkpoint as soon as every subtask runs.
    pub(super) fn plan_checkpoints(&mut self, now: Timestamp) {
        if !self.runs_whole() {
            return;
        }
        let Some(checkpoints) = &mut self.checkpoints else { return };
        if checkpoints.next_at.is_none() && checkpoints.pending.is_none() {
            checkpoints.next_at = checkpoints.settings.interval.map(|interval| now.after(interval));
        }
        self.begin_ordered(now);
    }

    fn runs_whole(&self) -> bool {
        let vertices = &self.execution.vertices;
        self.stage == Stage::Executing
            && vertices.iter().all(|vertex| {
                let counts = &vertex.counts;
                counts[TaskState::Running] + counts[TaskState::Finished] == vertex.subtasks.len() as u32
            })
            && !self.live_sources().is_empty()
    }

    fn live_sources(&self) -> Vec<SubtaskId> {
        let sources = self.execution.vertices.iter().filter(|vertex| vertex.inputs.is_empty());
        let subtasks = sources.flat_map(|vertex| {
            (0..vertex.subtasks.len() as u32).map(|index| SubtaskId { vertex: vertex.id, index })
        });
        subtasks.filter(|id| self.execution.subtask(*id).state() == TaskState::Running).collect()
    }

    fn begin_ordered(&mut self, now: Timestamp) {
        let ready = self.runs_whole();
        let Some(checkpoints) = &mut self.checkpoints else { return };
        if ready
            && checkpoints.pending.is_none()
            && let Some(order) = checkpoints.orders.pop_front()
        {
            self.begin_checkpoint(Some(order), now);
        }
    }

    fn begin_checkpoint(&mut self, order: Option<SavepointOrder>, now: Timestamp) {
        if !self.runs_whole() {
            if let Some(checkpoints) = &mut self.checkpoints {
                checkpoints.next_at = None;
            }
            return;
        }
        let (sources, all) = (self.live_sources(), self.execution.subtask_ids().collect::<Vec<_>>());
        let live = all.into_iter().filter(|id| self.execution.subtask(*id).is_live()).collect();
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let (trigger, savepoint, then) = match order {
            Some(order) => (Some(order.trigger), order.folder, order.then),
            None => (None, None, AfterBarrier::GoOn),
        };
        let barrier = Barrier { checkpoint: checkpoints.next_id(), savepoint, then };
        let pending = Pending {
            barrier: barrier.clone(),
            triggered: now,
            waiting: live,
            snapshots: checkpoints.last.clone(),
            step: Step::Collecting,
            trigger,
        };
        checkpoints.record(&pending, CheckpointStatus::InProgress, None);
        checkpoints.pending = Some(pending);
        for (worker, attempts) in self.by_worker(&sources) {
            self.actions.push(Action::TriggerCheckpoint { worker, attempts, barrier: barrier.clone() });
        }
    }

    /// Every subtask has finished. What they have left becomes a checkpoint too before it is made visible: whoever finds the job's leader
    /// dead goes on from there, and writes nothing twice. Returns whether it has to be waited for.
    pub(super) fn begin_last_checkpoint(&mut self, now: Timestamp) -> bool {
        let Some(checkpoints) = &mut self.checkpoints else { return false };
        let is_staged =
            checkpoints.last.values().any(|snapshot| checkpoints.prepared(snapshot).next().is_some());
        if checkpoints.settings.interval.is_none() || checkpoints.last_taken || !is_staged {
            return false;
        }
        checkpoints.last_taken = true;
        let barrier =
            Barrier { checkpoint: checkpoints.next_id(), savepoint: None, then: AfterBarrier::GoOn };
        let pending = Pending {
            barrier,
            triggered: now,
            waiting: BTreeSet::new(),
            snapshots: checkpoints.last.clone(),
            step: Step::Collecting,
            trigger: None,
        };
        checkpoints.record(&pending, CheckpointStatus::InProgress, None);
        checkpoints.pending = Some(pending);
        self.store_if_collected();
        true
    }

    fn by_worker(&self, subtasks: &[SubtaskId]) -> BTreeMap<WorkerId, Vec<Attempt>> {
        let mut by_worker = BTreeMap::<WorkerId, Vec<Attempt>>::new();
        for id in subtasks {
            if let Some(location) = self.execution.subtask(*id).location() {
                by_worker.entry(location.worker.clone()).or_default().push(self.execution.attempt(*id));
            }
        }
        by_worker
    }

    /// Somebody wants a savepoint, or a checkpoint now.
    pub(super) fn order_savepoint(&mut self, order: SavepointOrder, now: Timestamp) {
        let ended = !matches!(self.stage, Stage::Executing | Stage::Reconciling);
        let Some(checkpoints) = &mut self.checkpoints else { return };
        checkpoints.order(order);
        match ended {
            true => self.refuse_savepoints("the job is ending"),
            false => self.begin_ordered(now),
        }
    }

    pub(super) fn refuse_savepoints(&mut self, why: &str) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.refuse_orders(&Failure::new(FailureKind::Io, why));
        }
    }

    /// A subtask has stored what it kept, or could not.
    pub(super) fn snapshot_taken(
        &mut self,
        attempt: Attempt,
        checkpoint: CheckpointId,
        snapshot: Result<SubtaskSnapshot, Failure>,
        now: Timestamp,
    ) {
        if self.execution.current(attempt).is_none() {
            return;
        }
        let subtask = attempt.subtask;
        let is_sink = self.is_sink(subtask);
        let executing = self.stage == Stage::Executing;
        match (self.collecting(checkpoint), snapshot) {
            (Some(pending), Ok(snapshot)) => {
                if pending.waiting.remove(&subtask) {
                    pending.snapshots.insert(subtask, snapshot);
                }
                self.store_if_collected();
            }
            // The checkpoint was given up: what a sink has prepared for it, it tells again with the next.
            (None, Ok(_)) => {}
            // What a sink has prepared is lost with its answer: only a restart writes it again.
            (Some(_), Err(failure)) => self.checkpoint_failed(failure.message, is_sink, now),
            (None, Err(failure)) if is_sink && executing => {
                self.record(&failure, now);
                let regions = self.regions.ids().collect();
                self.recover(regions, failure, false, now);
            }
            (None, Err(_)) => {}
        }
    }

    fn is_sink(&self, subtask: SubtaskId) -> bool {
        matches!(*self.execution.vertices[subtask.vertex.index()].output, VertexOutput::Sink(_))
    }

    fn collecting(&mut self, checkpoint: CheckpointId) -> Option<&mut Pending> {
        let pending = self.checkpoints.as_mut()?.pending.as_mut()?;
        (pending.barrier.checkpoint == checkpoint && pending.step == Step::Collecting).then_some(pending)
    }

    /// A subtask has finished: what it left stands for it from now on.
    pub(super) fn note_last_snapshot(&mut self, subtask: SubtaskId, last: SubtaskSnapshot) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        if let Some(pending) = &mut checkpoints.pending
            && pending.step == Step::Collecting
            && pending.waiting.remove(&subtask)
        {
            pending.snapshots.insert(subtask, last.clone());
        }
        checkpoints.last.insert(subtask, last);
        self.store_if_collected();
    }

    fn store_if_collected(&mut self) {
        let graph = &self.execution.graph;
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let Some(pending) = &mut checkpoints.pending else { return };
        if pending.step != Step::Collecting || !pending.waiting.is_empty() {
            return;
        }
        pending.step = Step::Storing;
        let Some(pending) = &checkpoints.pending else { return };
        let manifest = Manifest {
            version: Manifest::VERSION,
            job: graph.job,
            checkpoint: pending.barrier.checkpoint,
            triggered_ms: pending.triggered.0 as i64,
            key_groups: self.options.get(&options::MAX_PARALLELISM).unwrap_or_default() as u16,
            statement: graph.statement.clone(),
            savepoint: pending.barrier.savepoint.is_some(),
            subtasks: pending.snapshots.iter().map(|(id, snapshot)| (*id, snapshot.clone())).collect(),
            sinks: outputs(&self.execution, &pending.snapshots, checkpoints)
                .into_iter()
                .map(SinkOutput::without_secrets)
                .collect(),
        };
        let barrier = pending.barrier.clone();
        let url = checkpoints.manifest_url(&barrier);
        self.actions.push(Action::StoreCheckpoint { url, manifest: Box::new(manifest) });
    }

    /// The manifest is written, or cannot be.
    pub(super) fn checkpoint_stored(
        &mut self,
        checkpoint: CheckpointId,
        outcome: Result<(), Failure>,
        now: Timestamp,
    ) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let Some(pending) = checkpoints
            .pending
            .as_mut()
            .filter(|pending| pending.barrier.checkpoint == checkpoint && pending.step == Step::Storing)
        else {
            return;
        };
        if let Err(failure) = outcome {
            return self.checkpoint_failed(failure.message, false, now);
        }
        pending.step = Step::Committing;
        let (barrier, snapshots) = (pending.barrier.clone(), pending.snapshots.clone());
        let trigger = pending.trigger.clone();
        let manifest = checkpoints.manifest_url(&barrier);
        let completed = CompletedCheckpoint { checkpoint, manifest, savepoint: barrier.savepoint.is_some() };
        if !completed.savepoint {
            checkpoints.completed.push_back(completed.clone());
        }
        // Also of a savepoint: its output becomes visible, and must not be written again.
        checkpoints.restored = Some(completed.manifest.clone());
        let mut sinks = outputs(&self.execution, &snapshots, checkpoints);
        sinks.retain(|output| !output.committables.is_empty());
        checkpoints.complete_upto = Some(checkpoint);
        self.forget_committed(&snapshots);
        self.actions.push(Action::CompleteCheckpoint { completed, sinks, trigger });
    }

    /// What subtasks had left when they finished and this checkpoint makes visible is not committed again at the job's end.
    fn forget_committed(&mut self, snapshots: &BTreeMap<SubtaskId, SubtaskSnapshot>) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        for (id, snapshot) in snapshots.iter().filter(|(_, snapshot)| !snapshot.committables.is_empty()) {
            if let Some(last) = checkpoints.last.get_mut(id)
                && last.committables == snapshot.committables
            {
                last.committables.clear();
                self.execution.subtask_mut(*id).committables.clear();
            }
        }
    }

    /// What a checkpoint has made visible is visible, or cannot be made so.
    pub(super) fn checkpoint_committed(
        &mut self,
        checkpoint: CheckpointId,
        outcome: Result<(), Failure>,
        now: Timestamp,
    ) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let is_it = |pending: &mut Pending| {
            pending.barrier.checkpoint == checkpoint && pending.step == Step::Committing
        };
        let Some(pending) = checkpoints.pending.take_if(is_it) else { return };
        if let Err(failure) = outcome {
            let message = format!(
                "the output of checkpoint {checkpoint} could not be made visible: {}",
                failure.message
            );
            checkpoints.record(&pending, CheckpointStatus::Failed(message.clone()), Some(now));
            checkpoints.keeps_staged = checkpoints.stay_after(true);
            let failure = Failure { kind: FailureKind::CommitFailed, message, ..failure };
            self.record(&failure, now);
            self.fail(failure, now);
            return self.end_if_stopped(now);
        }
        checkpoints.record(&pending, CheckpointStatus::Completed, Some(now));
        checkpoints.failed_in_row = 0;
        if let Some(trigger) = &pending.trigger {
            let folder = checkpoints.manifest_url(&pending.barrier).trim_end_matches("/_metadata").to_owned();
            checkpoints.set_outcome(trigger, SavepointStatus::Completed(folder));
        }
        while checkpoints.completed.len() > checkpoints.settings.retained {
            let Some(old) = checkpoints.completed.pop_front() else { break };
            let kept = checkpoints.completed.iter().map(|kept| kept.manifest.clone()).collect();
            self.actions.push(Action::RemoveCheckpoint { manifest: old.manifest, kept });
        }
        let savepoint = pending.barrier.savepoint.is_some();
        let mut told = if savepoint { Vec::new() } else { self.live_sources() };
        let of_sinks = self.execution.subtask_ids().filter(|id| self.is_sink(*id) && !told.contains(id));
        let of_sinks: Vec<_> = of_sinks.filter(|id| self.execution.subtask(*id).is_live()).collect();
        told.extend(of_sinks);
        for (worker, attempts) in self.by_worker(&told) {
            self.actions.push(Action::NotifyCheckpoint { worker, attempts, checkpoint });
        }
        self.plan_next(pending.triggered, now);
        self.go_on_after_checkpoint(now);
        self.end_if_stopped(now);
    }

    fn plan_next(&mut self, begun: Timestamp, now: Timestamp) {
        let runs = self.runs_whole();
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let settings = &checkpoints.settings;
        let next = settings.interval.map(|interval| begun.after(interval).max(now.after(settings.min_pause)));
        checkpoints.next_at = next.filter(|_| runs);
    }

    /// What had to wait for the checkpoint under way.
    fn go_on_after_checkpoint(&mut self, now: Timestamp) {
        if self.stage != Stage::Executing {
            return;
        }
        if self.execution.output_complete() {
            return self.output_complete(now);
        }
        self.restart_delayed(now);
        self.begin_ordered(now);
    }

    /// Gives the checkpoint under way up. Too many in a row restart the job.
    fn checkpoint_failed(&mut self, why: String, restarts: bool, now: Timestamp) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        let Some(pending) = checkpoints.pending.take() else { return };
        let message = format!("checkpoint {} failed: {why}", pending.barrier.checkpoint);
        tracing::warn!(job = %self.execution.graph.job, "{message}");
        abandon(checkpoints, &pending, &message, now);
        let ends = pending.barrier.then != AfterBarrier::GoOn;
        checkpoints.failed_in_row += u32::from(pending.trigger.is_none());
        let too_many = restarts || checkpoints.failed_in_row > checkpoints.settings.tolerable_failures;
        self.plan_next(pending.triggered, now);
        // Behind a barrier that ends the job sources have stopped: only a restart brings them back.
        if too_many || ends {
            if let Some(checkpoints) = &mut self.checkpoints {
                checkpoints.failed_in_row = 0;
            }
            let failure = Failure::new(FailureKind::Io, message);
            self.record(&failure, now);
            let regions = self.regions.ids().collect();
            return self.recover(regions, failure, false, now);
        }
        self.go_on_after_checkpoint(now);
    }

    /// Subtasks are about to start again: the checkpoint under way comes to nothing, unless it is complete.
    pub(super) fn interrupt_checkpoint(&mut self, why: &str, now: Timestamp) {
        let Some(checkpoints) = &mut self.checkpoints else { return };
        checkpoints.next_at = None;
        checkpoints.last_taken = false;
        let open = |pending: &mut Pending| pending.step != Step::Committing;
        if let Some(pending) = checkpoints.pending.take_if(open) {
            let message = format!("checkpoint {} was given up: {why}", pending.barrier.checkpoint);
            abandon(checkpoints, &pending, &message, now);
        }
    }

    /// All tasks begin, or start again.
    pub(super) fn count_restore(&mut self, now: Timestamp) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.count_restore(now);
        }
    }

    /// The checkpoint that the job was to go on from cannot be read. Returns whether there is an older one.
    pub(super) fn fall_back(&mut self) -> bool {
        let Some(checkpoints) = &mut self.checkpoints else { return false };
        // A savepoint since the newest checkpoint.
        if let Some(newest) = checkpoints.completed.back()
            && checkpoints.restored.as_ref() != Some(&newest.manifest)
        {
            tracing::warn!(
                damaged = checkpoints.restored,
                newest = newest.manifest,
                "a savepoint is damaged; going on from the newest checkpoint"
            );
            checkpoints.restored = Some(newest.manifest.clone());
            return true;
        }
        let Some(damaged) = checkpoints.completed.pop_back() else { return false };
        let Some(older) = checkpoints.completed.back() else {
            checkpoints.completed.push_back(damaged);
            return false;
        };
        tracing::warn!(
            damaged = damaged.manifest,
            older = older.manifest,
            "a checkpoint is damaged; going on from the one before: what was made visible since then is written once more"
        );
        checkpoints.restored = Some(older.manifest.clone());
        true
    }

    /// Where a task's state is kept and what it goes on from.
    pub(super) fn checkpoint_folder(&self) -> Option<CheckpointFolder> {
        let checkpoints = self.checkpoints.as_ref()?;
        Some(CheckpointFolder { folder: checkpoints.folder.clone(), restored: checkpoints.restored.clone() })
    }

    /// Removes what the job does not leave behind.
    pub(super) fn clean_checkpoints(&mut self, status: JobStatus) {
        let Some(checkpoints) = &self.checkpoints else { return };
        let finished = status == JobStatus::Finished;
        if checkpoints.folder.is_empty() || (!finished && checkpoints.stay_after(status == JobStatus::Failed))
        {
            return;
        }
        self.actions.push(Action::RemoveCheckpoints { folder: checkpoints.folder.clone() });
    }

    fn who_is_missing(&self) -> String {
        let pending = self.checkpoints.as_ref().and_then(|checkpoints| checkpoints.pending.as_ref());
        let mut missing = pending.iter().flat_map(|pending| &pending.waiting);
        let Some(first) = missing.next() else { return "its manifest was not written".to_owned() };
        let vertex = &self.execution.graph.vertices[first.vertex.index()];
        let others = missing.count();
        let name = format!("`{}` ({}/{})", vertex.name, first.index + 1, vertex.parallelism);
        match others {
            0 => format!("subtask {name} has not answered"),
            others => format!("subtask {name} and {others} more have not answered"),
        }
    }

    /// Its checkpoints for readers, oldest first.
    pub fn checkpoint_records(&self) -> Vec<CheckpointRecord> {
        let checkpoints = self.checkpoints.iter();
        checkpoints.flat_map(|checkpoints| checkpoints.records().cloned()).collect()
    }

    /// How many checkpoints have ended so far.
    pub fn checkpoint_counts(&self) -> CheckpointCounts {
        self.checkpoints.as_ref().map(Checkpoints::ended).unwrap_or_default()
    }

    /// What it has gone on from last.
    pub fn restored(&self) -> Option<RestoredCheckpoint> {
        self.checkpoints.as_ref().and_then(Checkpoints::last_restored).cloned()
    }

    /// How a savepoint that was asked for stands.
    pub fn savepoint_status(&self, trigger: &str) -> Option<SavepointStatus> {
        self.checkpoints.as_ref()?.outcome(trigger).cloned()
    }

    /// How all savepoints that were asked for stand.
    pub fn savepoint_statuses(&self) -> BTreeMap<String, SavepointStatus> {
        self.checkpoints.as_ref().map(|checkpoints| checkpoints.outcomes().clone()).unwrap_or_default()
    }

    /// Whether it is a stream, which can have savepoints.
    pub fn is_stream(&self) -> bool {
        self.checkpoints.is_some()
    }
}

fn abandon(checkpoints: &mut Checkpoints, pending: &Pending, message: &str, now: Timestamp) {
    checkpoints.record(pending, CheckpointStatus::Failed(message.to_owned()), Some(now));
    if let Some(trigger) = &pending.trigger {
        checkpoints.set_outcome(trigger, SavepointStatus::Failed(message.to_owned()));
    }
}

/// What each sink has prepared, for earlier checkpoints that were given up and for this one.
fn outputs(
    execution: &ExecutionGraph,
    snapshots: &BTreeMap<SubtaskId, SubtaskSnapshot>,
    checkpoints: &Checkpoints,
) -> Vec<SinkOutput> {
    let outputs = execution.vertices.iter().filter_map(|vertex| {
        let VertexOutput::Sink(sink) = &*vertex.output else { return None };
        let own = snapshots.iter().filter(|(id, _)| id.vertex == vertex.id);
        let committables = own.flat_map(|(_, snapshot)| checkpoints.prepared(snapshot)).cloned().collect();
        Some(SinkOutput { sink: sink.clone(), committables })
    });
    outputs.collect()
}
