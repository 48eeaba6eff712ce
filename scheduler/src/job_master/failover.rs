//! How a job meets failures.
//!
//! A failure that would come again ends the job. Any other restarts the region that met it, if the restart strategy allows, and
//! those finished regions whose blocking output it needs and cannot read any more. Where a region that runs again may give other
//! rows than before, all that has read its older output runs again too, and what has read the output of that. Failures met while a restart is pending join
//! it: one lost worker is one failure, however many tasks notice.

use std::collections::BTreeSet;

use thalweg_graph::{
    Attempt, EdgeId, Failure, FailureKind, JobStatus, SubtaskId, TaskState, WorkerId,
    exchange::{Partitioning, ResultPartitionId},
};
use thalweg_rpc::RunningTask;

use super::{Action, JobMaster, RegionId, Stage, checkpoints::Checkpoints, region::Phase};
use crate::{clock::Timestamp, view::FailureRecord};

impl JobMaster {
    /// A task's failure.
    pub(super) fn task_failed(&mut self, failure: Failure, now: Timestamp) {
        let Some(attempt) = failure.attempt else { return self.fail(failure, now) };
        let region = self.regions.of_subtask(attempt.subtask);
        let already_known = match failure.kind {
            FailureKind::FetchFailed { edge, producer } => self.output_unreadable(edge, producer),
            _ => false,
        };
        self.record(&failure, now);
        if self.stage != Stage::Executing {
            return self.end_if_stopped(now);
        }
        if failure.kind == FailureKind::StateLost && !self.fall_back() {
            return self.fail(failure, now);
        }
        if failure.kind == FailureKind::OutOfMemory && !self.spills_joins {
            return self.spill_joins(failure, now);
        }
        match self.is_final(&failure) {
            Some(failure) => self.fail(failure, now),
            None => self.recover([region].into(), failure, already_known, now),
        }
    }

    /// All that runs, runs again with joins that spill, at once and whatever the restart strategy says: it is another way to run the
    /// job, which is tried once.
    fn spill_joins(&mut self, failure: Failure, now: Timestamp) {
        self.spills_joins = true;
        let has_tasks = |id: &RegionId| matches!(self.regions[*id].phase, Phase::Running);
        let running = self.regions.ids().filter(has_tasks).collect();
        self.recover(running, failure, true, now);
    }

    /// A consumer could not read a producer's output. Returns whether that was known before.
    fn output_unreadable(&mut self, edge: EdgeId, producer: Attempt) -> bool {
        let is_input = self.execution.graph.edges.get(edge.index());
        let is_input = is_input.is_some_and(|edge| edge.source == producer.subtask.vertex);
        match self.execution.current(producer) {
            Some(subtask) if is_input && subtask.state() == TaskState::Finished => {
                let subtask = self.execution.subtask_mut(producer.subtask);
                std::mem::replace(&mut subtask.output_lost, true)
            }
            // It runs: then both ends are one region.
            Some(_) => false,
            None => self.is_replaced(producer),
        }
    }

    fn is_replaced(&self, attempt: Attempt) -> bool {
        let vertex = self.execution.vertices.get(attempt.subtask.vertex.index());
        let subtask = vertex.and_then(|vertex| vertex.subtasks.get(attempt.subtask.index as usize));
        subtask.is_some_and(|subtask| subtask.attempt > attempt.number)
    }

    /// A task that was told to stop failed instead. The others of its region may have noticed its failure before it could report
    /// it: a failure that would come again ends the job all the same, and explains an end that they caused.
    pub(super) fn stray_failed(&mut self, failure: Failure, now: Timestamp) {
        let is_fetch = |failure: &Failure| matches!(failure.kind, FailureKind::FetchFailed { .. });
        match self.stage {
            Stage::Executing if failure.kind.is_final() || failure.kind == FailureKind::Panic => {
                self.record(&failure, now);
                if let Some(failure) = self.is_final(&failure) {
                    self.fail(failure, now);
                }
            }
            Stage::Stopping { .. } if self.failure.as_ref().is_some_and(is_fetch) && !is_fetch(&failure) => {
                self.record(&failure, now);
                self.failure = Some(failure);
            }
            _ => {}
        }
    }

    /// The failure that the job ends with, if trying again is pointless.
    fn is_final(&mut self, failure: &Failure) -> Option<Failure> {
        let vertex = failure.attempt.map(|attempt| attempt.subtask.vertex)?;
        match failure.kind {
            FailureKind::Panic if !self.panics.insert((vertex, failure.message.clone())) => {
                let message = format!("{} (the same panic twice)", failure.message);
                Some(Failure { message, ..failure.clone() })
            }
            FailureKind::Internal | FailureKind::CommitFailed => Some(failure.clone()),
            ref kind => kind.is_final().then(|| failure.clone()),
        }
    }

    /// Restarts regions after the strategy's delay, or ends the job if it allows no more.
    pub(super) fn recover(
        &mut self,
        regions: BTreeSet<RegionId>,
        failure: Failure,
        already_known: bool,
        now: Timestamp,
    ) {
        if self.execution.graph.has_live_result() {
            let message = format!(
                "{}; rows that were shown cannot be taken back, so a query whose rows are shown as they come does not run again: \
                 submit it again",
                failure.message
            );
            return self.fail(Failure { message, ..failure }, now);
        }
        let until = match self.delayed.last() {
            Some((until, _)) => *until,
            None if already_known => now,
            None => match self.settings.strategy.on_failure(now) {
                Some(delay) => {
                    self.restarts += 1;
                    now.after(delay)
                }
                None => return self.give_up(failure, now),
            },
        };
        self.interrupt_checkpoint("a task failed", now);
        self.count_restore(now);
        self.begin_generation();
        self.reset(regions, until);
        self.set_status(JobStatus::Restarting, now);
        self.restart_delayed(now);
    }

    /// What is deployed from now on has attempts of a new number, once the quorum knows of it.
    pub(super) fn begin_generation(&mut self) {
        self.generation += 1;
        self.actions.push(Action::NoteRestart(self.generation));
    }

    fn give_up(&mut self, failure: Failure, now: Timestamp) {
        let message = match self.restarts {
            0 => failure.message,
            1 => format!("{} (after 1 restart)", failure.message),
            restarts => format!("{} (after {restarts} restarts)", failure.message),
        };
        self.fail(Failure { message, ..failure }, now);
    }

    /// Takes regions back to before their deployment, with all finished regions that they need and that are gone, and all that have
    /// read what will not come again.
    fn reset(&mut self, regions: BTreeSet<RegionId>, until: Timestamp) {
        let mut open: Vec<RegionId> = regions.into_iter().collect();
        let mut reset = BTreeSet::new();
        // Regions that will read other rows than before.
        let mut misled = BTreeSet::new();
        while let Some(id) = open.pop() {
            if reset.insert(id) {
                self.reset_region(id, until);
                open.extend(self.missing_producers(id));
            }
            if misled.contains(&id) || !self.is_deterministic(id) {
                let consumers = self.consumers(id).into_iter().map(|(consumer, _)| consumer);
                open.extend(consumers.filter(|consumer| misled.insert(*consumer)));
            }
            open.extend(self.consumers_to_reset(id));
        }
    }

    fn is_deterministic(&self, id: RegionId) -> bool {
        let vertices = &self.execution.graph.vertices;
        self.regions[id].vertices.iter().all(|vertex| vertices[vertex.index()].deterministic)
    }

    fn reset_region(&mut self, id: RegionId, until: Timestamp) {
        if self.regions[id].phase == Phase::Requested {
            self.actions.push(Action::CancelRequest(id));
        }
        if let Phase::Delayed(at) = self.regions[id].phase {
            self.delayed.remove(&(at, id));
        }
        let subtasks = self.subtasks_of(id);
        self.regions[id].unfinished = subtasks.len() as u32;
        self.regions[id].phase = Phase::Delayed(until);
        self.delayed.insert((until, id));
        for subtask in subtasks {
            self.reset_subtask(subtask);
        }
    }

    fn reset_subtask(&mut self, id: SubtaskId) {
        self.stop_attempt(id);
        let attempt = self.execution.attempt(id);
        let vertex = &self.execution.vertices[id.vertex.index()];
        let outputs = vertex.outputs.clone();
        let was_deployed = self.execution.subtask(id).slot.is_some();
        if was_deployed && vertex.output.is_result() {
            self.actions.push(Action::DropResult(attempt));
        }
        self.execution.set_state(id, TaskState::Created);
        self.alignment.forget(id);
        let subtask = self.execution.subtask_mut(id);
        subtask.attempt = self.generation;
        subtask.slot = None;
        subtask.started = None;
        subtask.ended = None;
        subtask.metrics = Default::default();
        subtask.meter = Default::default();
        subtask.splits.clear();
        subtask.committables.clear();
        subtask.output_lost = false;
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.last.remove(&id);
        }
        for edge in outputs {
            self.execution.edges[edge.index()].producers = None;
        }
    }

    /// Tells a live attempt to stop; its slot stays taken until it answers.
    pub(super) fn stop_attempt(&mut self, id: SubtaskId) {
        let subtask = self.execution.subtask(id);
        if !subtask.is_live() {
            return;
        }
        let (allocation, location) = subtask.slot.clone().expect("a live subtask has a slot");
        let attempt = self.execution.attempt(id);
        self.strays.insert(attempt, allocation);
        self.actions.push(Action::CancelTask { worker: location.worker.clone(), attempt });
    }

    /// Finished regions whose blocking output a region needs and that is gone.
    fn missing_producers(&mut self, id: RegionId) -> Vec<RegionId> {
        let mut missing = BTreeSet::new();
        let vertices = self.regions[id].vertices.clone();
        for vertex in vertices {
            for edge in self.execution.vertices[vertex.index()].inputs.clone() {
                if self.execution.is_pipelined(edge) {
                    continue;
                }
                let all = std::mem::replace(&mut self.execution.edges[edge.index()].released, false);
                let source = self.execution.graph.edges[edge.index()].source;
                let subtasks = &self.execution.vertices[source.index()].subtasks;
                for (index, subtask) in subtasks.iter().enumerate() {
                    if all || (subtask.state() == TaskState::Finished && subtask.output_lost) {
                        let id = SubtaskId { vertex: source, index: index as u32 };
                        missing.insert(self.regions.of_subtask(id));
                    }
                }
            }
        }
        missing.into_iter().collect()
    }

    /// Regions after a reset region that cannot go on: those which have asked for slots too early now, and, where rows are dealt in
    /// turn, all: the next attempt deals them in another order.
    fn consumers_to_reset(&mut self, id: RegionId) -> Vec<RegionId> {
        let mut reset = Vec::new();
        for (consumer, dealt) in self.consumers(id) {
            match self.regions[consumer].phase {
                Phase::Requested => self.take_back_request(consumer),
                Phase::Running | Phase::Finished if dealt => reset.push(consumer),
                _ => {}
            }
        }
        reset
    }

    /// The regions that read a region's output over blocking edges, and whether they are dealt its rows in turn.
    fn consumers(&self, id: RegionId) -> Vec<(RegionId, bool)> {
        let graph = &self.execution.graph;
        let outputs = self.regions[id]
            .vertices
            .iter()
            .flat_map(|vertex| &self.execution.vertices[vertex.index()].outputs);
        let blocking = outputs
            .filter(|edge| !self.execution.is_pipelined(**edge))
            .map(|edge| &graph.edges[edge.index()]);
        blocking
            .flat_map(|edge| {
                let dealt = edge.partitioning == Partitioning::RoundRobin;
                let parallelism = graph.vertices[edge.target.index()].parallelism;
                self.regions.of_vertex(edge.target, parallelism).map(move |consumer| (consumer, dealt))
            })
            .collect()
    }

    fn take_back_request(&mut self, id: RegionId) {
        self.actions.push(Action::CancelRequest(id));
        self.regions[id].phase = Phase::Waiting;
        for subtask in self.subtasks_of(id) {
            self.execution.set_state(subtask, TaskState::Created);
        }
    }

    /// Lets regions go whose delay is over.
    pub(super) fn restart_delayed(&mut self, now: Timestamp) {
        if self.checkpoints.as_ref().is_some_and(Checkpoints::is_committing)
            || self.generation_noted < self.generation
        {
            return;
        }
        while let Some((until, id)) = self.delayed.first().copied() {
            if until > now {
                return;
            }
            self.delayed.pop_first();
            self.regions[id].phase = Phase::Waiting;
            self.request_if_ready(id);
        }
        if self.status == JobStatus::Restarting {
            self.set_status(JobStatus::Running, now);
        }
    }

    /// A worker is gone: its tasks run elsewhere, and finished regions whose output was there run again if it is still needed.
    pub(super) fn worker_lost(&mut self, worker: &WorkerId, reason: &str, now: Timestamp) {
        if !self.workers.remove(worker) {
            return;
        }
        self.slots.retain(|_, slot| slot.location.worker != *worker);
        let slots = &self.slots;
        let gone: Vec<Attempt> =
            self.strays.iter().filter(|(_, slot)| !slots.contains_key(slot)).map(|(id, _)| *id).collect();
        for attempt in gone {
            self.strays.remove(&attempt);
            self.stray_ended(attempt, now);
        }
        let on_worker = self.subtasks_on(worker);
        let failed = self.lose(&on_worker, now);
        let message = format!("worker `{worker}` is lost: {reason}");
        let mut failure = Failure::new(FailureKind::WorkerLost, message);
        failure.worker = Some(worker.clone());
        self.recover_if_needed(failed, failure, now);
    }

    /// A worker's connection broke and it is back: what it still has is kept. A task that sends a result is not: rows may be lost
    /// between the two connections.
    pub(super) fn worker_returned(
        &mut self,
        worker: &WorkerId,
        running: &[RunningTask],
        partitions: &BTreeSet<ResultPartitionId>,
        now: Timestamp,
    ) {
        let mut kept = BTreeSet::new();
        for task in running {
            if let Some(allocation) = self.strays.get(&task.attempt) {
                debug_assert!(self.slots.contains_key(allocation));
                self.actions.push(Action::CancelTask { worker: worker.clone(), attempt: task.attempt });
                kept.insert(task.attempt);
            } else if task.epoch == self.epoch && self.adopts(worker, task.attempt) {
                self.execution.set_state(task.attempt.subtask, TaskState::Running);
                kept.insert(task.attempt);
            } else {
                self.actions.push(Action::CancelTask { worker: worker.clone(), attempt: task.attempt });
            }
        }
        self.forget_missing_strays(worker, &kept, now);
        let mut gone = self.subtasks_on(worker);
        gone.retain(|id| !kept.contains(&self.execution.attempt(*id)) && !self.holds(*id, partitions));
        let failed = self.lose(&gone, now);
        let message = format!("worker `{worker}` lost its connection and came back without all of its tasks");
        let mut failure = Failure::new(FailureKind::WorkerLost, message);
        failure.worker = Some(worker.clone());
        self.recover_if_needed(failed, failure, now);
    }

    fn adopts(&self, worker: &WorkerId, attempt: Attempt) -> bool {
        let vertex = self.execution.vertices.get(attempt.subtask.vertex.index());
        let sends_result = vertex.is_some_and(|vertex| vertex.output.is_result());
        let subtask = self.execution.current(attempt).filter(|subtask| subtask.is_live());
        let location = subtask.and_then(|subtask| subtask.location());
        !sends_result && location.is_some_and(|location| location.worker == *worker)
    }

    fn forget_missing_strays(&mut self, worker: &WorkerId, kept: &BTreeSet<Attempt>, now: Timestamp) {
        let slots = &self.slots;
        let on_worker = |slot| slots.get(slot).is_some_and(|slot| slot.location.worker == *worker);
        let answered: Vec<_> = self
            .strays
            .iter()
            .filter(|(attempt, slot)| !kept.contains(attempt) && on_worker(slot))
            .map(|(attempt, slot)| (*attempt, *slot))
            .collect();
        for (attempt, slot) in answered {
            self.strays.remove(&attempt);
            self.stray_ended(attempt, now);
            self.task_left_slot(slot);
        }
    }

    /// Whether a finished subtask's output over every blocking edge is among these partitions.
    pub(super) fn holds(&self, id: SubtaskId, partitions: &BTreeSet<ResultPartitionId>) -> bool {
        let producer = self.execution.attempt(id);
        let mut edges = self.execution.vertices[id.vertex.index()].outputs.iter();
        self.execution.subtask(id).state() == TaskState::Finished
            && edges.all(|edge| {
                self.execution.is_pipelined(*edge)
                    || self.execution.edges[edge.index()].released
                    || partitions.contains(&ResultPartitionId { producer, edge: *edge })
            })
    }

    fn subtasks_on(&self, worker: &WorkerId) -> Vec<SubtaskId> {
        let on_worker = |id: &SubtaskId| {
            let location = self.execution.subtask(*id).location();
            location.is_some_and(|location| location.worker == *worker)
        };
        self.execution.subtask_ids().filter(on_worker).collect()
    }

    /// Marks subtasks as lost with their worker or its memory; returns the regions that must run again.
    fn lose(&mut self, subtasks: &[SubtaskId], now: Timestamp) -> BTreeSet<RegionId> {
        let mut failed = BTreeSet::new();
        for id in subtasks {
            let subtask = self.execution.subtask(*id);
            if subtask.is_live() {
                let metrics = subtask.metrics;
                self.attempt_ended(self.execution.attempt(*id), TaskState::Failed, metrics, now);
                failed.insert(self.regions.of_subtask(*id));
            } else if subtask.state() == TaskState::Finished && !subtask.output_lost {
                self.execution.subtask_mut(*id).output_lost = true;
                if self.output_needed(*id) {
                    failed.insert(self.regions.of_subtask(*id));
                }
            }
        }
        failed
    }

    /// Whether a consumer over a blocking edge has still to read a finished subtask's output.
    pub(super) fn output_needed(&self, id: SubtaskId) -> bool {
        let mut edges = self.execution.vertices[id.vertex.index()].outputs.iter();
        edges.any(|edge| {
            let target = self.execution.graph.edges[edge.index()].target;
            !self.execution.is_pipelined(*edge)
                && !self.execution.edges[edge.index()].released
                && !self.execution.vertex_finished(target)
        })
    }

    fn recover_if_needed(&mut self, failed: BTreeSet<RegionId>, failure: Failure, now: Timestamp) {
        if self.stage != Stage::Executing {
            return self.end_if_stopped(now);
        }
        if !failed.is_empty() {
            self.record(&failure, now);
            self.recover(failed, failure, false, now);
        }
    }

    /// Keeps a failure for readers.
    pub(super) fn record(&mut self, failure: &Failure, now: Timestamp) {
        let task = failure.attempt.map(|Attempt { subtask, .. }| {
            // One of a graph that was replaced may have no place in this one.
            let vertex = self.execution.graph.vertices.get(subtask.vertex.index());
            vertex.map_or_else(
                || format!("subtask {} of a vertex that was replaced", subtask.index + 1),
                |vertex| format!("{} ({}/{})", vertex.name, subtask.index + 1, vertex.parallelism),
            )
        });
        self.failures.push_back(FailureRecord { at: now, failure: failure.clone(), task });
        while self.failures.len() > self.settings.failures_kept.max(1) {
            self.failures.pop_front();
            self.failures_dropped = true;
        }
    }
}
