//! The control plane as one pure machine: the replicated state, the resource manager and the job masters, each fed with what the
//! others decide. What is left to do outside comes out as effects, in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use thalweg_graph::{
    Attempt, BUILD_ID, CheckpointId, Failure, JobEpoch, JobGraph, JobId, JobStatus, TaskDescriptor,
    TaskReport, WorkerId, checkpoint::Manifest, options, table::SinkOutput,
};
use thalweg_rpc::{Registration, ToLeader, ToWorker};

use super::Error;
use crate::{
    clock::Timestamp,
    job_master::{self, Event, ExecutionGraph, JobMaster, SavepointOrder},
    quorum::{self, Command, JobRecord, KeyRecord, PlannedLater, Refusal},
    resource_manager::{self, ResourceManager},
    view::{JobDetails, JobEnd, SavepointStatus, SubtaskDetails},
};

/// Tasks in one message to a worker, so that the first start while the others are still on their way.
const TASKS_PER_MESSAGE: usize = 64;

/// One connection of one worker; a worker that comes back has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Something to be done outside.
#[derive(Debug)]
pub enum Effect {
    /// Send a message.
    Send(SessionId, ToWorker),
    /// Close a session after what was sent.
    Close(SessionId),
    /// Make output visible; answered by [`Cluster::committed`].
    Commit(JobId, Vec<SinkOutput>),
    /// Withdraw output; answered by [`Cluster::aborted`].
    Abort(JobId, Vec<SinkOutput>),
    /// Write a checkpoint's manifest at a URL; answered by [`Cluster::checkpoint_stored`].
    StoreCheckpoint(JobId, String, Box<Manifest>),
    /// Make a checkpoint's output visible; answered by [`Cluster::checkpoint_committed`].
    CommitCheckpoint(JobId, CheckpointId, Vec<SinkOutput>),
    /// Make visible what the checkpoint at a URL has left, before a job goes on from it with these sinks; unless its job is one of those
    /// that run. Answered by [`Cluster::output_recovered`].
    RecoverOutput(JobId, String, Vec<SinkOutput>, BTreeSet<JobId>),
    /// Remove a checkpoint, by the URL of its manifest, as far as those with these manifests do not need it.
    RemoveCheckpoint(JobId, String, Vec<String>),
    /// Remove a job's checkpoints, by the URL of their folder.
    RemoveCheckpoints(JobId, String),
    /// A query runs: rows will come.
    ExpectResult(JobId),
    /// A query runs whose rows are read as they come.
    ExpectLiveResult(JobId),
    /// An attempt's rows are the result.
    PublishResult(Attempt),
    /// An attempt's rows are void.
    DropResult(Attempt),
    /// A job has changed.
    Changed(JobId),
    /// A job is over.
    Ended(JobId, JobEnd),
    /// A job is dropped from memory.
    Forgotten(JobId),
}

/// What is kept for readers of a job that has ended.
pub(super) struct Archived {
    pub(super) details: Arc<JobDetails>,
    /// In the order of the vertices.
    pub(super) subtasks: Vec<Vec<SubtaskDetails>>,
    /// How the savepoints that were asked for have ended.
    pub(super) savepoints: BTreeMap<String, SavepointStatus>,
}

/// How workers are watched, told to them when they register.
pub type WorkerSettings = resource_manager::Settings;

/// The machine.
pub struct Cluster {
    settings: WorkerSettings,
    pub(super) state: quorum::State,
    pub(super) resources: ResourceManager,
    pub(super) masters: BTreeMap<JobId, JobMaster>,
    /// What is shown of jobs that have ended.
    pub(super) archive: BTreeMap<JobId, Archived>,
    /// Plans in Flink's shape, made when first asked for.
    pub(super) plans: BTreeMap<JobId, Arc<serde_json::Value>>,
    sessions: BTreeMap<WorkerId, SessionId>,
    /// Tasks for workers, to go out in few messages.
    orders: BTreeMap<WorkerId, Vec<Arc<TaskDescriptor>>>,
    effects: Vec<Effect>,
}

impl Cluster {
    /// Without jobs and workers.
    pub fn new(settings: WorkerSettings, ended_max: usize) -> Self {
        Self {
            settings,
            state: quorum::State::new(ended_max),
            resources: ResourceManager::new(settings),
            masters: BTreeMap::new(),
            archive: BTreeMap::new(),
            plans: BTreeMap::new(),
            sessions: BTreeMap::new(),
            orders: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// What is now to be done, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        let workers: Vec<_> = self.orders.keys().cloned().collect();
        workers.iter().for_each(|worker| self.send_orders(worker));
        std::mem::take(&mut self.effects)
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn deadline(&self) -> Option<Timestamp> {
        let masters = self.masters.values().filter_map(JobMaster::deadline);
        masters.chain(self.resources.deadline()).min()
    }

    /// Does what the time asks for.
    pub fn tick(&mut self, now: Timestamp) {
        let mut actions = Vec::new();
        self.resources.tick(now, &mut actions);
        self.manage(actions, now);
        let due = self.masters.iter().filter(|(_, master)| master.deadline().is_some_and(|at| at <= now));
        for job in due.map(|(job, _)| *job).collect::<Vec<_>>() {
            self.tell(job, Event::Tick, now);
        }
        self.settle(now);
    }

    /// Takes a planned job.
    pub fn submit(&mut self, mut graph: JobGraph, now: Timestamp) -> Result<JobId, Error> {
        graph.validate()?;
        if graph.build_id != BUILD_ID {
            return Err(Error::OtherBuild { planned: graph.build_id, ours: BUILD_ID.to_owned() });
        }
        job_master::Settings::read(&graph.options)?;
        let job = graph.job;
        job_master::break_cycles(&mut graph);
        self.propose(Command::SubmitJob { graph: Arc::new(graph), at: now }, now).map_err(refused)?;
        self.settle(now);
        Ok(job)
    }

    /// Takes a script's jobs, to be planned one by one.
    pub fn accept_script(
        &mut self,
        key: Option<(String, u64)>,
        jobs: Vec<PlannedLater>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let queries: Vec<_> = jobs.iter().filter(|job| job.is_query).map(|job| job.job).collect();
        self.propose(Command::AcceptScript { key, jobs, at: now }, now).map_err(refused)?;
        self.effects.extend(queries.into_iter().map(Effect::ExpectResult));
        Ok(())
    }

    /// Asks a job to end.
    pub fn cancel(&mut self, job: JobId, now: Timestamp) -> Result<(), Error> {
        self.propose(Command::CancelJob { job }, now).map_err(refused)?;
        self.settle(now);
        Ok(())
    }

    /// Ends a job of a script that has not come to run: it could not be planned, its turn does not come, or it has nothing to do.
    pub fn end_unplanned(&mut self, job: JobId, end: JobEnd, now: Timestamp) {
        if self.state.job(job).is_some_and(|record| record.graph.is_none() && record.end.is_none()) {
            self.end(job, end, now);
        }
    }

    /// The output of a job was made visible, or cannot be.
    pub fn committed(&mut self, job: JobId, outcome: Result<(), Failure>, now: Timestamp) {
        self.tell(job, Event::Committed(outcome), now);
        self.settle(now);
    }

    /// The output of a job was withdrawn, as far as possible.
    pub fn aborted(&mut self, job: JobId, now: Timestamp) {
        self.tell(job, Event::Aborted, now);
        self.settle(now);
    }

    /// A checkpoint's manifest is written, or cannot be.
    pub fn checkpoint_stored(
        &mut self,
        job: JobId,
        checkpoint: CheckpointId,
        outcome: Result<(), Failure>,
        now: Timestamp,
    ) {
        self.tell(job, Event::CheckpointStored { checkpoint, outcome }, now);
        self.settle(now);
    }

    /// The output of a checkpoint was made visible, or cannot be.
    pub fn checkpoint_committed(
        &mut self,
        job: JobId,
        checkpoint: CheckpointId,
        outcome: Result<(), Failure>,
        now: Timestamp,
    ) {
        if outcome.is_ok() {
            // A job that has ended meanwhile keeps nothing open.
            let _ = self.propose(Command::CheckpointVisible { job, checkpoint }, now);
        }
        self.tell(job, Event::CheckpointCommitted { checkpoint, outcome }, now);
        self.settle(now);
    }

    /// What a checkpoint has left is visible, or cannot be made so.
    pub fn output_recovered(&mut self, job: JobId, outcome: Result<(), Failure>, now: Timestamp) {
        self.tell(job, Event::OutputRecovered(outcome), now);
        self.settle(now);
    }

    /// Asks for a savepoint.
    pub fn savepoint(&mut self, job: JobId, order: SavepointOrder, now: Timestamp) -> Result<(), Error> {
        let Some(master) = self.masters.get(&job) else {
            return Err(match self.state.job(job) {
                Some(_) => Error::NotRunning(job),
                None => Error::UnknownJob(job),
            });
        };
        if !master.is_stream() {
            return Err(Error::NoStream(job));
        }
        self.tell(job, Event::Savepoint(order), now);
        self.settle(now);
        Ok(())
    }

    /// How a savepoint that was asked for stands.
    pub fn savepoint_status(&self, job: JobId, trigger: &str) -> Result<SavepointStatus, Error> {
        let running = self.masters.get(&job).and_then(|master| master.savepoint_status(trigger));
        let archived = self.archive.get(&job).and_then(|archived| archived.savepoints.get(trigger).cloned());
        running.or(archived).ok_or_else(|| match self.state.job(job) {
            Some(_) => Error::UnknownTrigger { job, trigger: trigger.to_owned() },
            None => Error::UnknownJob(job),
        })
    }

    /// A worker has opened a session.
    pub fn worker_registered(&mut self, session: SessionId, registration: Registration, now: Timestamp) {
        let worker = registration.worker.clone();
        if let Some(old) = self.sessions.insert(worker.clone(), session) {
            self.effects.push(Effect::Close(old));
        }
        self.orders.remove(&worker);
        self.effects.push(Effect::Send(
            session,
            ToWorker::Welcome {
                term: self.state.term(),
                heartbeat_interval: self.settings.heartbeat_interval,
                heartbeat_timeout: self.settings.heartbeat_timeout,
            },
        ));
        let mut actions = Vec::new();
        let known = self.resources.register(&registration, now, &mut actions);
        if known {
            self.worker_returned(&worker, registration, now);
        } else {
            self.refuse_strays(&worker, &registration);
        }
        self.manage(actions, now);
        self.settle(now);
    }

    /// Lets each job look at what the worker still has of it.
    fn worker_returned(&mut self, worker: &WorkerId, registration: Registration, now: Timestamp) {
        let Registration { mut running, mut partitions, .. } = registration;
        let jobs: Vec<_> = self.masters.keys().copied().collect();
        for job in jobs {
            let mine = running.extract_if(.., |task| task.attempt.job == job).collect();
            let held = partitions.extract_if(.., |partition| partition.producer.job == job).collect();
            let event = Event::WorkerReturned { worker: worker.clone(), running: mine, partitions: held };
            self.tell(job, event, now);
        }
        let running = running.iter().map(|task| task.attempt.job);
        self.forget_jobs(worker, running.chain(partitions.iter().map(|held| held.producer.job)).collect());
    }

    /// A worker that was given up is back: what it still runs was started elsewhere since.
    fn refuse_strays(&mut self, worker: &WorkerId, registration: &Registration) {
        let running = registration.running.iter().map(|task| task.attempt);
        let (live, over): (Vec<_>, Vec<_>) = running.partition(|id| self.masters.contains_key(&id.job));
        let term = self.state.term();
        for attempt in live {
            self.send(worker, ToWorker::Cancel { term, attempt });
        }
        let held = registration.partitions.iter().map(|partition| partition.producer.job);
        let over = over.iter().map(|attempt| attempt.job).chain(held);
        let over = over.filter(|job| !self.masters.contains_key(job)).collect();
        self.forget_jobs(worker, over);
    }

    fn forget_jobs(&mut self, worker: &WorkerId, jobs: BTreeSet<JobId>) {
        let term = self.state.term();
        for job in jobs {
            self.send(worker, ToWorker::ForgetJob { term, job });
        }
    }

    /// A worker said something. Words of a session that was replaced are void.
    pub fn worker_said(&mut self, session: SessionId, worker: &WorkerId, message: ToLeader, now: Timestamp) {
        if self.sessions.get(worker) != Some(&session) {
            return;
        }
        let memory = match &message {
            ToLeader::Heartbeat { memory_used_bytes, .. } => Some(*memory_used_bytes),
            _ => None,
        };
        self.resources.heard(worker, memory, now);
        match message {
            ToLeader::Task { attempt, update } if self.masters.contains_key(&attempt.job) => {
                let event = Event::Task { worker: worker.clone(), attempt, update };
                self.tell(attempt.job, event, now);
            }
            ToLeader::Task { attempt, update: thalweg_rpc::TaskUpdate::Running } => {
                self.forget_jobs(worker, [attempt.job].into());
            }
            ToLeader::Heartbeat { tasks, .. } => self.note_reports(tasks, now),
            ToLeader::Goodbye { reason } => {
                tracing::info!(%worker, reason, "a worker says goodbye");
                let mut actions = Vec::new();
                self.resources.worker_left(worker, &reason, &mut actions, now);
                self.manage(actions, now);
            }
            // Rows go to the result store before they come here; a session registers once.
            ToLeader::Snapshot { attempt, checkpoint, snapshot } => {
                self.tell(attempt.job, Event::Snapshot { attempt, checkpoint, snapshot }, now);
            }
            ToLeader::SourceTime { attempt, group, watermark_ms, max_drift_ms } => {
                let event = Event::SourceTime { attempt, group, watermark_ms, max_drift_ms };
                self.tell(attempt.job, event, now);
            }
            ToLeader::Task { .. } | ToLeader::ResultChunk { .. } | ToLeader::Register(_) => {}
        }
        self.settle(now);
    }

    fn note_reports(&mut self, tasks: Vec<TaskReport>, now: Timestamp) {
        let mut by_job = BTreeMap::<JobId, Vec<_>>::new();
        for report in tasks {
            by_job.entry(report.attempt.job).or_default().push(report);
        }
        for (job, tasks) in by_job {
            self.tell(job, Event::Reports(tasks), now);
        }
    }

    /// A session is over.
    pub fn session_ended(&mut self, session: SessionId, worker: &WorkerId, now: Timestamp) {
        if self.sessions.get(worker) == Some(&session) {
            self.sessions.remove(worker);
            self.resources.session_ended(worker, now);
        }
    }

    fn propose(&mut self, command: Command, now: Timestamp) -> Result<(), Refusal> {
        for effect in self.state.apply(command)? {
            match effect {
                quorum::Effect::Run(graph) => self.run(graph, now),
                quorum::Effect::Cancel(job) if self.masters.contains_key(&job) => {
                    self.tell(job, Event::Cancel, now);
                }
                quorum::Effect::Cancel(job) => {
                    self.end(job, JobEnd { status: JobStatus::Canceled, failure: None }, now);
                }
                quorum::Effect::Commit(job, sinks) => self.effects.push(Effect::Commit(job, sinks)),
                quorum::Effect::CommitCheckpoint(job, checkpoint, sinks) => {
                    self.effects.push(Effect::CommitCheckpoint(job, checkpoint, sinks));
                }
                quorum::Effect::Ended(job) => {
                    let record = self.state.job(job).and_then(|record| record.end.clone());
                    self.effects.extend(record.map(|(end, _)| Effect::Ended(job, end)));
                }
                quorum::Effect::Forgotten(job) => {
                    self.archive.remove(&job);
                    self.plans.remove(&job);
                    self.effects.push(Effect::Forgotten(job));
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, graph: Arc<JobGraph>, now: Timestamp) {
        let job = graph.job;
        let settings = job_master::Settings::read(&graph.options).expect("checked before it was proposed");
        if graph.has_live_result() {
            self.effects.push(Effect::ExpectLiveResult(job));
        } else if graph.result_columns.is_some() {
            self.effects.push(Effect::ExpectResult(job));
        }
        self.masters.insert(job, JobMaster::new(graph, JobEpoch::default(), settings, now));
        self.tell(job, Event::Start, now);
    }

    /// Gives an event to a job's master and does what it says.
    fn tell(&mut self, job: JobId, event: Event, now: Timestamp) {
        let Some(master) = self.masters.get_mut(&job) else { return };
        let actions = master.handle(event, now);
        self.effects.push(Effect::Changed(job));
        for action in actions {
            self.act(job, action, now);
        }
    }

    fn act(&mut self, job: JobId, action: job_master::Action, now: Timestamp) {
        use job_master::Action;
        let term = self.state.term();
        match action {
            Action::RequestSlots { region, wishes, may_shrink } => {
                let graph = self.state.job(job).and_then(|record| record.graph.as_ref());
                let timeout = graph.and_then(|graph| graph.options.get(&options::SLOT_REQUEST_TIMEOUT).ok());
                self.resources.request(job, region, wishes, may_shrink, timeout.unwrap_or_default(), now);
            }
            Action::CancelRequest(region) => self.resources.cancel_request(job, region),
            Action::ReleaseSlot(allocation) => self.resources.release(allocation),
            Action::Deploy { worker, tasks } => self.orders.entry(worker).or_default().extend(tasks),
            Action::CancelTask { worker, attempt } => self.send(&worker, ToWorker::Cancel { term, attempt }),
            Action::ReleasePartitions { worker, partitions } => {
                self.send(&worker, ToWorker::ReleasePartitions { term, partitions });
            }
            Action::PublishResult(attempt) => self.effects.push(Effect::PublishResult(attempt)),
            Action::DropResult(attempt) => self.effects.push(Effect::DropResult(attempt)),
            Action::Commit(sinks) => {
                let decided = self.propose(Command::DecideCommit { job, sinks }, now);
                decided.expect("a job with a master has not ended");
            }
            Action::Abort(sinks) => self.effects.push(Effect::Abort(job, sinks)),
            Action::TriggerCheckpoint { worker, attempts, barrier } => {
                self.send(&worker, ToWorker::Checkpoint { term, attempts, barrier });
            }
            Action::AlignSource { worker, attempt, allowed_ms } => {
                self.send(&worker, ToWorker::AlignSource { attempt, allowed_ms });
            }
            Action::NotifyCheckpoint { worker, attempts, checkpoint } => {
                self.send(&worker, ToWorker::CheckpointCompleted { term, attempts, checkpoint });
            }
            Action::StoreCheckpoint { url, manifest } => {
                self.effects.push(Effect::StoreCheckpoint(job, url, manifest));
            }
            Action::CompleteCheckpoint { completed, sinks } => {
                let decided = self.propose(Command::CompleteCheckpoint { job, completed, sinks }, now);
                decided.expect("a job with a master has not ended");
            }
            Action::RecoverOutput { manifest, sinks } => {
                let running = self.masters.keys().copied().collect();
                self.effects.push(Effect::RecoverOutput(job, manifest, sinks, running));
            }
            Action::RemoveCheckpoint { manifest, kept } => {
                self.effects.push(Effect::RemoveCheckpoint(job, manifest, kept));
            }
            Action::RemoveCheckpoints { folder } => self.effects.push(Effect::RemoveCheckpoints(job, folder)),
            Action::Ended { status, failure, workers } => {
                workers.iter().for_each(|worker| self.send(worker, ToWorker::ForgetJob { term, job }));
                self.end(job, JobEnd { status, failure }, now);
            }
        }
    }

    fn end(&mut self, job: JobId, end: JobEnd, now: Timestamp) {
        self.resources.forget_job(job);
        let plan = self.plan(job);
        let ended = self.propose(Command::EndJob { job, end, at: now }, now);
        ended.expect("a job ends once");
        if let Some(mut details) = self.details(job) {
            details.plan = plan.unwrap_or_default();
            let execution = self.masters.get(&job).map(JobMaster::execution);
            let subtasks = execution.map(ExecutionGraph::all_subtask_details).unwrap_or_default();
            let savepoints = self.masters.get(&job).map(JobMaster::savepoint_statuses).unwrap_or_default();
            self.archive.insert(job, Archived { details: Arc::new(details), subtasks, savepoints });
        }
        self.plans.remove(&job);
        self.masters.remove(&job);
    }

    fn manage(&mut self, actions: Vec<resource_manager::Action>, now: Timestamp) {
        use resource_manager::Action;
        for action in actions {
            match action {
                Action::Grant { job, region, slots } => {
                    self.tell(job, Event::SlotsGranted { region, slots }, now);
                }
                Action::TimedOut { job, region, shortfall } => {
                    let reason = shortfall.to_string();
                    self.tell(job, Event::SlotsRefused { region, reason }, now);
                }
                Action::Heartbeat(worker) => self.send(&worker, ToWorker::Heartbeat),
                Action::Lost { worker, reason } => self.worker_lost(worker, reason, now),
            }
        }
    }

    fn worker_lost(&mut self, worker: WorkerId, reason: String, now: Timestamp) {
        tracing::info!(%worker, reason, "a worker is gone");
        self.orders.remove(&worker);
        // A worker that registers anew at this moment has its session already.
        if self.resources.worker(&worker).is_none()
            && let Some(session) = self.sessions.remove(&worker)
        {
            self.effects.push(Effect::Close(session));
        }
        let jobs: Vec<_> = self.masters.keys().copied().collect();
        for job in jobs {
            self.tell(job, Event::WorkerLost { worker: worker.clone(), reason: reason.clone() }, now);
        }
    }

    /// Grants free slots until nothing more can be granted.
    fn settle(&mut self, now: Timestamp) {
        loop {
            let mut actions = Vec::new();
            self.resources.grant(&mut actions);
            if actions.is_empty() {
                return;
            }
            self.manage(actions, now);
        }
    }

    fn send(&mut self, worker: &WorkerId, message: ToWorker) {
        self.send_orders(worker);
        if let Some(session) = self.sessions.get(worker) {
            self.effects.push(Effect::Send(*session, message));
        }
    }

    /// Orders wait for company, but never behind a later message to the same worker.
    fn send_orders(&mut self, worker: &WorkerId) {
        let Some(tasks) = self.orders.remove(worker) else { return };
        let Some(session) = self.sessions.get(worker).copied() else { return };
        let term = self.state.term();
        for tasks in tasks.chunks(TASKS_PER_MESSAGE) {
            self.effects.push(Effect::Send(session, ToWorker::Deploy { term, tasks: tasks.to_vec() }));
        }
    }

    /// What an idempotency key was used for.
    pub fn used_key(&self, key: &str) -> Option<&KeyRecord> {
        self.state.key(key)
    }

    /// Where a job stands.
    pub fn job_status(&self, job: JobId) -> Option<JobStatus> {
        let master = self.masters.get(&job).map(|master| master.status().0);
        master.or_else(|| self.state.job(job).map(JobRecord::status))
    }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::UnknownJob(job) => Error::UnknownJob(job),
        Refusal::JobExists(job) => Error::JobExists(job),
        Refusal::JobEnded(job) => Error::JobCanceled(job),
    }
}

#[cfg(test)]
mod tests;
