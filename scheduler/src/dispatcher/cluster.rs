//! The control plane as one pure machine: the replicated state, the resource manager and the job masters, each fed with what the
//! others decide. What the quorum is to decide comes out as proposals, and back by [`Cluster::apply`]; what is left to do outside comes out
//! as effects, in order.
//!
//! A member that does not lead has the replicated state only. See `leading.rs` for how one begins to lead.

mod leading;
mod rescaling;
mod workers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use thalweg_graph::{
    Attempt, BUILD_ID, CheckpointId, Failure, FailureKind, JobEpoch, JobGraph, JobId, JobStatus, Options,
    TaskDescriptor, Term, WorkerId, checkpoint::Manifest, options, table::SinkOutput,
};
use thalweg_rpc::ToWorker;

use self::leading::Leading;
use super::Error;
use crate::{
    clock::Timestamp,
    job_master::{self, Event, ExecutionGraph, JobMaster, SavepointOrder},
    quorum::{self, AcceptedScript, Command, KeyRecord, MemberId, Refusal},
    resource_manager::{self, ResourceManager},
    view::{EndedJob, JobEnd, SavepointStatus},
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
    /// Keep what there is to know of a job that has ended.
    Archive(Arc<EndedJob>),
    /// A job is dropped from memory.
    Forgotten(JobId),
    /// This member leads now; these jobs have ended before, and the leader that knew all about them may not have come to keep it.
    Leads(Vec<Arc<EndedJob>>),
    /// Go on with a script whose leader is gone.
    ResumeScript(Box<AcceptedScript>),
}

/// How workers are watched, told to them when they register.
pub type WorkerSettings = resource_manager::Settings;

/// The machine.
pub struct Cluster {
    settings: WorkerSettings,
    member: MemberId,
    ended_max: u32,
    leading: Leading,
    /// Where the quorum's members are.
    job_managers: Vec<String>,
    /// The term in which this member was elected, if it was in the newest.
    elected: Option<Term>,
    /// What the quorum is to decide.
    proposals: Vec<Command>,
    pub(super) state: quorum::State,
    pub(super) resources: ResourceManager,
    pub(super) masters: BTreeMap<JobId, JobMaster>,
    /// What is shown of jobs that have ended.
    pub(super) archive: BTreeMap<JobId, Arc<EndedJob>>,
    /// Plans in Flink's shape, made when first asked for.
    pub(super) plans: BTreeMap<JobId, Arc<serde_json::Value>>,
    sessions: BTreeMap<WorkerId, SessionId>,
    /// Tasks for workers, to go out in few messages.
    orders: BTreeMap<WorkerId, Vec<Arc<TaskDescriptor>>>,
    effects: Vec<Effect>,
}

impl Cluster {
    /// A member that does not lead, without jobs and workers. Of the jobs that end the newest `ended_max` are remembered.
    pub fn new(settings: WorkerSettings, member: MemberId, ended_max: u32) -> Self {
        Self {
            settings: settings.clone(),
            member,
            ended_max,
            leading: Leading::No,
            job_managers: Vec::new(),
            elected: None,
            proposals: Vec::new(),
            state: quorum::State::default(),
            resources: ResourceManager::new(settings, Term::default()),
            masters: BTreeMap::new(),
            archive: BTreeMap::new(),
            plans: BTreeMap::new(),
            sessions: BTreeMap::new(),
            orders: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// What the quorum is to decide, in order.
    pub fn take_proposals(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.proposals)
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
        masters.chain(self.resources.deadline()).chain(self.reconcile_deadline()).min()
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
        self.end_reconciliation_if_due(now);
        self.settle(now);
    }

    /// Looks at a planned job; returns what the quorum is to decide.
    pub fn submission(&self, graph: JobGraph, now: Timestamp) -> Result<Command, Error> {
        Ok(Command::SubmitJob { graph: self.runnable(graph)?, at: now })
    }

    /// A planned graph as it can run here, if it can.
    fn runnable(&self, mut graph: JobGraph) -> Result<Arc<JobGraph>, Error> {
        graph.validate()?;
        if graph.build_id != BUILD_ID {
            return Err(Error::OtherBuild { planned: graph.build_id, ours: BUILD_ID.to_owned() });
        }
        job_master::Settings::read(&graph.options)?;
        self.check_queue(&graph.options)?;
        job_master::break_cycles(&mut graph);
        Ok(Arc::new(graph))
    }

    /// The master of a streaming job that runs.
    fn stream(&self, job: JobId) -> Result<&JobMaster, Error> {
        match self.masters.get(&job) {
            Some(master) if master.is_stream() => Ok(master),
            Some(_) => Err(Error::NoStream(job)),
            None if self.state.job(job).is_some() => Err(Error::NotRunning(job)),
            None => Err(Error::UnknownJob(job)),
        }
    }

    /// Refuses options that name a queue which is not there.
    pub fn check_queue(&self, options: &Options) -> Result<(), Error> {
        let queue = options.get(&options::JOB_QUEUE)?;
        match self.settings.queues.has(&queue) {
            true => Ok(()),
            false => Err(Error::UnknownQueue { queue, known: self.settings.queues.to_string() }),
        }
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
            self.propose(Command::CheckpointVisible { job, checkpoint });
        }
        self.tell(job, Event::CheckpointCommitted { checkpoint, outcome }, now);
        self.settle(now);
    }

    /// What a checkpoint has left is visible, or cannot be made so.
    pub fn output_recovered(&mut self, job: JobId, outcome: Result<(), Failure>, now: Timestamp) {
        self.tell(job, Event::OutputRecovered(outcome), now);
        self.settle(now);
    }

    /// Looks at an order of a savepoint; returns what the quorum is to decide.
    pub fn savepoint_order(&self, job: JobId, order: SavepointOrder) -> Result<Command, Error> {
        self.stream(job)?;
        Ok(Command::OrderSavepoint { job, order })
    }

    /// How a savepoint that was asked for stands.
    pub fn savepoint_status(&self, job: JobId, trigger: &str) -> Result<SavepointStatus, Error> {
        let running = self.masters.get(&job).and_then(|master| master.savepoint_status(trigger));
        let archived = self.archive.get(&job).and_then(|archived| archived.savepoints.get(trigger).cloned());
        let record = self.state.job(job).ok_or(Error::UnknownJob(job))?;
        // Another leader took the order.
        let remembered = record.savepoints.get(trigger).map(|savepoint| match &savepoint.outcome {
            None => SavepointStatus::InProgress,
            Some(Ok(folder)) => SavepointStatus::Completed(folder.clone()),
            Some(Err(why)) => SavepointStatus::Failed(why.clone()),
        });
        let known = running.or(archived).or(remembered);
        known.ok_or_else(|| Error::UnknownTrigger { job, trigger: trigger.to_owned() })
    }

    fn propose(&mut self, command: Command) {
        self.proposals.push(command);
    }

    /// Takes what the quorum has decided in a term.
    pub fn apply(&mut self, command: Command, term: Term, now: Timestamp) -> Result<(), Refusal> {
        for effect in self.state.apply(command, term)? {
            match effect {
                // Not one of an earlier time, which is applied again when a member starts.
                quorum::Effect::Led(member) if member == self.member && self.elected == Some(term) => {
                    self.lead(now);
                }
                quorum::Effect::Led(_) => self.step_down(),
                quorum::Effect::Forgotten(job) => {
                    self.archive.remove(&job);
                    self.plans.remove(&job);
                    self.effects.push(Effect::Forgotten(job));
                }
                effect if self.leads() => self.carry_out(effect, now),
                // For the leader.
                _ => {}
            }
        }
        self.settle(now);
        Ok(())
    }

    fn carry_out(&mut self, effect: quorum::Effect, now: Timestamp) {
        match effect {
            quorum::Effect::Expect(queries) => {
                self.effects.extend(queries.into_iter().map(Effect::ExpectResult));
            }
            quorum::Effect::Run(graph) => self.run(graph, now),
            quorum::Effect::Cancel(job) if self.masters.contains_key(&job) => {
                self.tell(job, Event::Cancel, now);
            }
            quorum::Effect::Cancel(job) => {
                self.end(job, JobEnd { status: JobStatus::Canceled, failure: None }, now);
            }
            quorum::Effect::Restarted(job, generation) => {
                self.tell(job, Event::RestartNoted(generation), now);
            }
            quorum::Effect::Rescale(graph, generation) => {
                let job = graph.job;
                self.plans.remove(&job);
                self.tell(job, Event::Rescaled { graph, generation }, now);
            }
            quorum::Effect::EndDecided(job) => self.tell(job, Event::EndDecided, now),
            quorum::Effect::TakeSavepoint(job, order) => self.tell(job, Event::Savepoint(order), now),
            quorum::Effect::Commit(job, sinks) => self.effects.push(Effect::Commit(job, sinks)),
            quorum::Effect::CommitCheckpoint(job, checkpoint, sinks) => {
                self.effects.push(Effect::CommitCheckpoint(job, checkpoint, sinks));
            }
            quorum::Effect::Ended(job) => self.ended(job),
            quorum::Effect::Led(_) | quorum::Effect::Forgotten(_) => {}
        }
    }

    fn run(&mut self, graph: Arc<JobGraph>, now: Timestamp) {
        let job = graph.job;
        let Some(settings) = self.settings_of(&graph, now) else { return };
        self.expect_rows(&graph);
        self.resources.introduce(job, settings.class.clone());
        self.masters.insert(job, JobMaster::new(graph, JobEpoch::default(), settings, now));
        self.tell(job, Event::Start, now);
    }

    /// What a job's options say. They were read before the job was proposed; a leader of another build may read them in another way.
    fn settings_of(&mut self, graph: &JobGraph, now: Timestamp) -> Option<job_master::Settings> {
        match job_master::Settings::read(&graph.options) {
            Ok(settings) => Some(settings),
            Err(error) => {
                let failure = Some(Failure::new(FailureKind::PlanRejected, error.to_string()));
                self.end(graph.job, JobEnd { status: JobStatus::Failed, failure }, now);
                None
            }
        }
    }

    fn expect_rows(&mut self, graph: &JobGraph) {
        if graph.has_live_result() {
            self.effects.push(Effect::ExpectLiveResult(graph.job));
        } else if graph.result_columns.is_some() {
            self.effects.push(Effect::ExpectResult(graph.job));
        }
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
            Action::AdoptSlot { worker, allocation } => self.resources.adopt(job, &worker, allocation),
            Action::NoteRestart(generation) => self.propose(Command::RestartJob { job, generation }),
            Action::DecideEnd { status, failure } => {
                self.propose(Command::DecideEnd { job, status, failure });
            }
            Action::Commit(sinks) => self.propose(Command::DecideCommit { job, sinks }),
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
            Action::CompleteCheckpoint { completed, sinks, trigger } => {
                self.propose(Command::CompleteCheckpoint { job, completed, sinks, trigger });
            }
            Action::RefuseSavepoint { trigger, why } => {
                self.propose(Command::RefuseSavepoint { job, trigger, why });
            }
            Action::CommitCheckpoint { checkpoint, sinks } => {
                self.effects.push(Effect::CommitCheckpoint(job, checkpoint, sinks));
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

    /// Has the quorum end a job; see [`ended`](Self::ended).
    fn end(&mut self, job: JobId, end: JobEnd, now: Timestamp) {
        self.resources.forget_job(job);
        self.propose(Command::EndJob { job, end, at: now, ended_max: self.ended_max });
    }

    /// A job is over, and everybody knows.
    fn ended(&mut self, job: JobId) {
        let plan = self.plan(job);
        if let Some(mut details) = self.details(job) {
            details.plan = plan.unwrap_or_default();
            let execution = self.masters.get(&job).map(JobMaster::execution);
            let subtasks = execution.map(ExecutionGraph::all_subtask_details).unwrap_or_default();
            let savepoints = self.masters.get(&job).map(JobMaster::savepoint_statuses).unwrap_or_default();
            let ended = Arc::new(EndedJob { details: Arc::new(details), subtasks, savepoints });
            self.archive.insert(job, ended.clone());
            self.effects.push(Effect::Archive(ended));
        }
        self.plans.remove(&job);
        self.masters.remove(&job);
        let record = self.state.job(job).and_then(|record| record.end.clone());
        self.effects.extend(record.map(|(end, _)| Effect::Ended(job, end)));
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

    /// Grants free slots until nothing more can be granted.
    fn settle(&mut self, now: Timestamp) {
        if self.is_reconciling() {
            // What others hold is not known yet.
            return;
        }
        loop {
            let mut actions = Vec::new();
            self.resources.grant(&mut actions);
            if actions.is_empty() {
                return;
            }
            self.manage(actions, now);
        }
    }

    /// Jobs that wait or run.
    pub fn open_jobs(&self) -> usize {
        self.state.open_jobs()
    }

    /// What an idempotency key was used for.
    pub fn used_key(&self, key: &str) -> Option<&KeyRecord> {
        self.state.key(key)
    }

    /// Where a job stands.
    pub fn job_status(&self, job: JobId) -> Option<JobStatus> {
        let record = self.state.job(job)?;
        let master = self.masters.get(&job).filter(|_| record.end.is_none());
        Some(master.map_or(record.status(), |master| master.status().0))
    }
}

#[cfg(test)]
mod tests;
