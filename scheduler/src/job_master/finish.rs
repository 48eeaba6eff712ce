//! How a job ends: output committed or withdrawn, tasks stopped, workers told.

use thalweg_graph::{
    Attempt, Failure, FailureKind, JobStatus, TaskState, VertexId, VertexOutput, exchange::ResultPartitionId,
    table::SinkOutput,
};

use super::{Action, JobMaster, RegionId, STOP_TIMEOUT, Stage, checkpoints::Checkpoints, region::Phase};
use crate::clock::Timestamp;

impl JobMaster {
    /// Everything that leaves the job has left its tasks.
    pub(super) fn output_complete(&mut self, now: Timestamp) {
        if self.stage != Stage::Executing {
            return;
        }
        // A checkpoint under way goes first: its output comes before what is left.
        if self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.pending.is_some()) {
            return;
        }
        if self.begin_last_checkpoint(now) {
            return;
        }
        // A consumer that has seen enough leaves producers behind that nobody reads.
        self.stop_everything();
        let sinks = self.sinks(true);
        if sinks.is_empty() {
            return self.drain(now);
        }
        self.stage = Stage::Committing;
        self.actions.push(Action::Commit(sinks));
    }

    pub(super) fn sinks(&self, with_committables: bool) -> Vec<SinkOutput> {
        let outputs = self.execution.vertices.iter().filter_map(|vertex| match &*vertex.output {
            VertexOutput::Sink(sink) => Some((vertex, sink)),
            VertexOutput::Edges | VertexOutput::Result | VertexOutput::LiveResult => None,
        });
        outputs
            .map(|(vertex, sink)| {
                let staged: Vec<_> = match &self.checkpoints {
                    None => vertex.subtasks.iter().flat_map(|subtask| &subtask.committables).collect(),
                    Some(checkpoints) => {
                        let last = checkpoints.last.iter().filter(|(id, _)| id.vertex == vertex.id);
                        last.flat_map(|(_, last)| checkpoints.prepared(last)).collect()
                    }
                };
                let committables =
                    if with_committables { staged.into_iter().cloned().collect() } else { Vec::new() };
                SinkOutput { sink: sink.clone(), committables }
            })
            .collect()
    }

    pub(super) fn committed(&mut self, outcome: Result<(), Failure>, now: Timestamp) {
        if self.stage != Stage::Committing {
            return;
        }
        match outcome {
            Ok(()) => self.drain(now),
            Err(failure) => {
                let message = format!("the output could not be made visible: {}", failure.message);
                let failure = Failure { kind: FailureKind::CommitFailed, message, ..failure };
                self.record(&failure, now);
                self.fail(failure, now);
            }
        }
    }

    fn drain(&mut self, now: Timestamp) {
        self.stage = Stage::Draining { until: now.after(STOP_TIMEOUT) };
        self.end_if_stopped(now);
    }

    /// Ends the job with a failure: at once if it never ran, else after its tasks have stopped and its output is withdrawn.
    pub(super) fn fail(&mut self, failure: Failure, now: Timestamp) {
        if matches!(self.stage, Stage::Executing | Stage::Committing) {
            self.failure = Some(failure);
            self.stop(JobStatus::Failing, now);
        }
    }

    pub(super) fn cancel(&mut self, now: Timestamp) {
        // Once the commit has begun the output may be visible already: the job finishes.
        if self.stage == Stage::Executing {
            self.stop(JobStatus::Cancelling, now);
        }
    }

    pub(super) fn slots_refused(&mut self, region: RegionId, reason: String, now: Timestamp) {
        if self.stage != Stage::Executing || self.regions[region].phase != Phase::Requested {
            return;
        }
        let waited = humantime::format_duration(self.settings.slot_timeout);
        let wide = self.regions[region].vertices.len() > 1;
        let advice = match wide {
            true => {
                "add workers, lower `parallelism.default`, or set `execution.batch-shuffle-mode` to \
                 `ALL_EXCHANGES_BLOCKING` to run with fewer slots"
            }
            false => "add workers",
        };
        let message = format!("the job got no slots within {waited}: it {reason}; {advice}");
        let failure = Failure::new(FailureKind::NoSlots, message);
        self.record(&failure, now);
        self.fail(failure, now);
    }

    fn stop(&mut self, status: JobStatus, now: Timestamp) {
        self.interrupt_checkpoint("the job is ending", now);
        self.refuse_savepoints("the job is ending");
        self.set_status(status, now);
        self.stage = Stage::Stopping { until: now.after(STOP_TIMEOUT) };
        self.stop_everything();
        self.end_if_stopped(now);
    }

    fn stop_everything(&mut self) {
        self.delayed.clear();
        for region in self.regions.ids() {
            if self.regions[region].phase == Phase::Requested {
                self.actions.push(Action::CancelRequest(region));
            }
        }
        let subtasks: Vec<_> = self.execution.subtask_ids().collect();
        for subtask in subtasks {
            match self.execution.subtask(subtask).state() {
                TaskState::Created | TaskState::Scheduled => {
                    self.execution.set_state(subtask, TaskState::Canceled);
                }
                state if state.is_terminal() => {}
                _ => {
                    self.stop_attempt(subtask);
                    self.execution.set_state(subtask, TaskState::Canceling);
                }
            }
        }
    }

    /// A task that was told to stop has answered or is gone.
    pub(super) fn stray_ended(&mut self, attempt: Attempt, now: Timestamp) {
        let canceling =
            self.execution.current(attempt).is_some_and(|subtask| subtask.state() == TaskState::Canceling);
        if canceling {
            self.execution.set_state(attempt.subtask, TaskState::Canceled);
            self.execution.subtask_mut(attempt.subtask).ended = Some(now);
        }
    }

    /// Goes on with the job's end once no task is left or the time for that is over.
    pub(super) fn end_if_stopped(&mut self, now: Timestamp) {
        // What is being made visible must not be withdrawn meanwhile.
        if self.checkpoints.as_ref().is_some_and(Checkpoints::is_committing) {
            return;
        }
        match self.stage {
            Stage::Draining { until } if self.strays.is_empty() || until <= now => {
                self.end(JobStatus::Finished, now);
            }
            Stage::Stopping { until } if self.strays.is_empty() || until <= now => {
                let sinks = self.sinks(false);
                let stays = self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.keeps_staged);
                // What was never deployed has staged nothing.
                if !self.deployed || stays || sinks.is_empty() {
                    self.stage = Stage::Aborting;
                    return self.aborted(now);
                }
                self.stage = Stage::Deciding;
                let (status, failure) = (self.status_without_output(), self.failure.clone());
                self.actions.push(Action::DecideEnd { status, failure });
            }
            _ => {}
        }
    }

    /// Whoever leads from now on, the job ends without output: that may be withdrawn.
    pub(super) fn end_decided(&mut self) {
        if self.stage == Stage::Deciding {
            self.stage = Stage::Aborting;
            self.actions.push(Action::Abort(self.sinks(false)));
        }
    }

    pub(super) fn status_without_output(&self) -> JobStatus {
        if self.failure.is_some() { JobStatus::Failed } else { JobStatus::Canceled }
    }

    pub(super) fn aborted(&mut self, now: Timestamp) {
        if self.stage == Stage::Aborting {
            self.end(self.status_without_output(), now);
        }
    }

    fn end(&mut self, status: JobStatus, now: Timestamp) {
        self.stage = Stage::Ended;
        self.set_status(status, now);
        self.refuse_savepoints("the job has ended");
        self.clean_checkpoints(status);
        let (failure, workers) = (self.failure.clone(), std::mem::take(&mut self.workers));
        self.actions.push(Action::Ended { status, failure, workers });
    }

    /// A vertex has finished: nobody reads its blocking inputs any more.
    pub(super) fn release_inputs(&mut self, vertex: VertexId) {
        for edge in self.execution.vertices[vertex.index()].inputs.clone() {
            let released = self.execution.edges[edge.index()].released;
            if released || self.execution.is_pipelined(edge) {
                continue;
            }
            self.execution.edges[edge.index()].released = true;
            let mut by_worker = std::collections::BTreeMap::<_, Vec<_>>::new();
            let producers = self.execution.edges[edge.index()].producers.take();
            for location in producers.iter().flat_map(|producers| producers.iter()) {
                let partition = ResultPartitionId { producer: location.id.producer, edge };
                by_worker.entry(location.worker.clone()).or_default().push(partition);
            }
            for (worker, partitions) in by_worker {
                self.actions.push(Action::ReleasePartitions { worker, partitions });
            }
        }
    }
}
