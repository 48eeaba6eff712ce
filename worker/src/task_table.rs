//! The tasks of this worker by job: orders of the leader come in, how tasks change goes out.
//!
//! An attempt is remembered until its job is forgotten, so that an order given twice is carried out once, and so that how it ended
//! can be told again to a leader that may not have heard it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use datafusion::{
    execution::{TaskContext, runtime_env::RuntimeEnv},
    prelude::SessionContext,
};
use parking_lot::Mutex;
use thalweg_connectors::BuiltinConnectors;
use thalweg_graph::{
    Attempt, CheckpointId, Failure, FailureKind, JobEpoch, JobId, Options, TaskDescriptor, TaskReport,
    TaskState, Term, checkpoint::Barrier, exchange::ResultPartitionId,
};
use thalweg_plan::session_config;
use thalweg_rpc::{RunningTask, TaskUpdate, ToLeader};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::task::TaskTracker;

use crate::{
    exchange::Exchange,
    leader::Leader,
    task::{
        attempt::{Outcome, TaskAttempt, TaskEnvironment},
        ended::Ended,
    },
};

/// All tasks of one worker.
pub struct TaskTable {
    /// To and from other workers.
    pub exchange: Arc<Exchange>,
    /// To and from tables.
    pub connectors: Arc<BuiltinConnectors>,
    /// Memory, disks, object stores.
    pub runtime_env: Arc<RuntimeEnv>,
    /// Where batches are computed.
    pub compute: Handle,
    /// The worker's slots.
    pub slots: u32,
    /// Whom it tells how tasks change.
    leader: Arc<Leader>,
    state: Mutex<State>,
    tracker: TaskTracker,
}

#[derive(Default)]
struct State {
    /// The highest term seen.
    term: Option<Term>,
    jobs: HashMap<JobId, Job>,
    /// The newest job's functions and settings: the next one's are the same, as a rule.
    newest: Option<(Arc<Options>, Arc<TaskContext>)>,
}

struct Job {
    epoch: JobEpoch,
    context: Arc<TaskContext>,
    attempts: HashMap<Attempt, Known>,
}

enum Known {
    Running { task: Arc<TaskAttempt>, state: TaskState },
    Ended { update: TaskUpdate, sent_rows: bool },
}

impl TaskTable {
    /// A table without tasks.
    pub fn new(
        exchange: Arc<Exchange>,
        connectors: Arc<BuiltinConnectors>,
        runtime_env: Arc<RuntimeEnv>,
        compute: Handle,
        slots: u32,
    ) -> Self {
        let (leader, state, tracker) = Default::default();
        Self { exchange, connectors, runtime_env, compute, slots, leader, state, tracker }
    }

    /// Takes note of the leader's term. `false` if a later leader was seen: the order is to be refused.
    pub fn admits(&self, term: Term) -> bool {
        let mut state = self.state.lock();
        if state.term.is_some_and(|seen| term < seen) {
            tracing::warn!(term = term.0, "refused the order of a leader that was replaced");
            return false;
        }
        state.term = Some(term);
        true
    }

    /// Speaks to this leader from now on; returns what it must be told at once: how tasks ended that its registration called running.
    pub fn connect(&self, leader: mpsc::Sender<ToLeader>, registered: &[RunningTask]) -> Vec<ToLeader> {
        let state = self.state.lock();
        self.leader.connect(leader);
        let ended = registered.iter().filter_map(|task| {
            let known = state.jobs.get(&task.attempt.job)?.attempts.get(&task.attempt)?;
            Some(ToLeader::Task { attempt: task.attempt, update: known.end()? })
        });
        ended.collect()
    }

    /// How tasks have ended that the last leader may not know of.
    pub fn ended_tasks(&self) -> Vec<(Attempt, TaskUpdate)> {
        let state = self.state.lock();
        let attempts = state.jobs.values().flat_map(|job| &job.attempts);
        attempts.filter_map(|(attempt, known)| Some((*attempt, known.end()?))).collect()
    }

    /// The session is over.
    pub fn disconnect(&self) {
        self.leader.disconnect();
    }

    /// Starts a task, unless it was started before or belongs to a restart that was overtaken.
    pub fn deploy(self: &Arc<Self>, descriptor: Arc<TaskDescriptor>) {
        let (attempt, epoch) = (descriptor.attempt, descriptor.epoch);
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(session) = self.leader.session() else { return };
        let job = match state.jobs.entry(attempt.job) {
            Entry::Occupied(job) => job.into_mut(),
            Entry::Vacant(vacant) => {
                let context = self.context(&descriptor.options, &mut state.newest);
                self.exchange.store.open_job(attempt.job);
                vacant.insert(Job { epoch, context, attempts: HashMap::new() })
            }
        };
        if epoch < job.epoch {
            return tracing::warn!(%attempt, "refused a task of an overtaken restart");
        }
        job.epoch = epoch;
        let Entry::Vacant(vacant) = job.attempts.entry(attempt) else { return };
        let task = Arc::new(TaskAttempt::new(descriptor));
        vacant.insert(Known::Running { task: Arc::clone(&task), state: TaskState::Initializing });
        let environment = TaskEnvironment {
            exchange: Arc::clone(&self.exchange),
            connectors: Arc::clone(&self.connectors),
            job: Arc::clone(&job.context),
            session,
            leader: Arc::clone(&self.leader),
        };
        self.tracker.spawn_on(Arc::clone(self).run(task, environment), &self.compute);
    }

    /// What all tasks with the same options share: made once.
    fn context(
        &self,
        options: &Arc<Options>,
        newest: &mut Option<(Arc<Options>, Arc<TaskContext>)>,
    ) -> Arc<TaskContext> {
        if let Some((_, context)) = newest.as_ref().filter(|(known, _)| known == options) {
            return Arc::clone(context);
        }
        let state = session_config::session_state(options, Arc::clone(&self.runtime_env), self.slots);
        let context = SessionContext::new_with_state(state).task_ctx();
        *newest = Some((Arc::clone(options), Arc::clone(&context)));
        context
    }

    async fn run(self: Arc<Self>, task: Arc<TaskAttempt>, environment: TaskEnvironment) {
        let attempt = task.descriptor.attempt;
        let Outcome { result, given_up } = task.run(environment, self.begun(attempt)).await;
        let update = match &result {
            Ok(committables) => {
                let last = task.last_snapshot().map(Box::new);
                TaskUpdate::Finished { metrics: task.metrics(), committables: committables.clone(), last }
            }
            Err(Ended::Canceled) => TaskUpdate::Canceled,
            Err(Ended::Failed { kind, message }) => {
                let kind = match kind {
                    FailureKind::OutOfMemory if !self.holds_build_sides(attempt.job) => {
                        &FailureKind::ResourceExhausted
                    }
                    kind => kind,
                };
                tracing::info!(%attempt, task = %task.descriptor.name, kind = kind.code(), %message, "task failed");
                let failure = Failure::new(kind.clone(), message).of(attempt, self.exchange.worker.clone());
                TaskUpdate::Failed { failure, metrics: task.metrics() }
            }
        };
        if result.is_err() {
            self.exchange.store.release_attempt(attempt);
        }
        self.ended(&task, update).await;
        let why = match result {
            Ok(_) => return,
            Err(Ended::Canceled) => "its task was cancelled".to_owned(),
            Err(Ended::Failed { message, .. }) => format!("its task failed: {message}"),
        };
        given_up.iter().for_each(|output| output.fail(&why));
    }

    /// Whether tasks of a job that run here would need less memory with joins that spill.
    fn holds_build_sides(&self, job: JobId) -> bool {
        let state = self.state.lock();
        let mut known = state.jobs.get(&job).into_iter().flat_map(|job| job.attempts.values());
        known.any(|known| known.task().is_some_and(|task| task.holds_build_sides()))
    }

    async fn begun(&self, attempt: Attempt) {
        if let Some(Known::Running { state, .. }) =
            self.state.lock().jobs.get_mut(&attempt.job).and_then(|job| job.attempts.get_mut(&attempt))
        {
            *state = TaskState::Running;
        }
        self.report(attempt, TaskUpdate::Running).await;
    }

    async fn ended(&self, task: &TaskAttempt, update: TaskUpdate) {
        let attempt = task.descriptor.attempt;
        {
            let mut state = self.state.lock();
            // A job that was forgotten has nobody who asks.
            let Some(job) = state.jobs.get_mut(&attempt.job) else { return };
            let sent_rows = task.descriptor.output.is_result();
            job.attempts.insert(attempt, Known::Ended { update: update.clone(), sent_rows });
        }
        self.report(attempt, update).await;
    }

    async fn report(&self, attempt: Attempt, update: TaskUpdate) {
        self.leader.tell(ToLeader::Task { attempt, update }).await;
    }

    /// Lets a barrier pass from these sources, as far as they run.
    pub fn checkpoint(&self, attempts: &[Attempt], barrier: &Barrier) {
        self.running(attempts).for_each(|task| task.checkpoint(barrier.clone()));
    }

    /// Tells a source how far it may go.
    pub fn align_source(&self, attempt: Attempt, allowed_ms: i64) {
        self.running(&[attempt]).for_each(|task| task.align(allowed_ms));
    }

    /// Lets a task send more of its live result.
    pub fn result_taken(&self, attempt: Attempt, chunks: u32) {
        self.running(&[attempt]).for_each(|task| task.result_taken(chunks));
    }

    /// Tells these sources that a checkpoint is complete.
    pub fn checkpoint_completed(&self, attempts: &[Attempt], checkpoint: CheckpointId) {
        self.running(attempts).for_each(|task| task.checkpoint_completed(checkpoint));
    }

    fn running(&self, attempts: &[Attempt]) -> impl Iterator<Item = Arc<TaskAttempt>> {
        let state = self.state.lock();
        let known = attempts.iter().filter_map(|attempt| state.jobs.get(&attempt.job)?.attempts.get(attempt));
        known.filter_map(Known::task).cloned().collect::<Vec<_>>().into_iter()
    }

    /// Asks a task to stop; returns the answer where nobody else will give it.
    pub fn cancel(&self, attempt: Attempt) -> Option<ToLeader> {
        let state = self.state.lock();
        match state.jobs.get(&attempt.job).and_then(|job| job.attempts.get(&attempt)) {
            None => Some(ToLeader::Task { attempt, update: TaskUpdate::Canceled }),
            Some(Known::Ended { .. }) => None,
            Some(Known::Running { task, .. }) => {
                task.cancel.cancel();
                None
            }
        }
    }

    /// Drops outputs that nobody needs any more.
    pub fn release(&self, partitions: &[ResultPartitionId]) {
        partitions.iter().for_each(|id| self.exchange.store.release(*id));
    }

    /// Stops what runs of a job and drops all that is kept of it.
    pub fn forget(&self, job: JobId) {
        let forgotten = self.state.lock().jobs.remove(&job);
        if let Some(forgotten) = forgotten {
            forgotten.attempts.values().for_each(Known::cancel);
        }
        self.exchange.store.forget_job(job);
    }

    /// Stops everything and waits until it has, for at most `patience`.
    pub async fn stop(&self, patience: Duration) {
        let jobs: Vec<JobId> = self.state.lock().jobs.keys().copied().collect();
        jobs.into_iter().for_each(|job| self.forget(job));
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            tracing::warn!("tasks did not stop within {} s", patience.as_secs());
        }
    }

    /// What runs, for a leader that does not know.
    pub fn running_tasks(&self) -> Vec<RunningTask> {
        let state = self.state.lock();
        let mut running = Vec::new();
        for job in state.jobs.values() {
            for (attempt, known) in &job.attempts {
                if let Known::Running { state, task } = known {
                    let (slot, barrier) = (task.descriptor.slot, task.newest_barrier());
                    let (attempt, epoch, state) = (*attempt, task.descriptor.epoch, *state);
                    running.push(RunningTask { attempt, epoch, state, slot, barrier });
                }
            }
        }
        running
    }

    /// What all that runs says of itself.
    pub fn reports(&self) -> Vec<TaskReport> {
        let running: Vec<Arc<TaskAttempt>> = {
            let state = self.state.lock();
            let known = state.jobs.values().flat_map(|job| job.attempts.values());
            known.filter_map(Known::task).cloned().collect()
        };
        running.iter().map(|task| task.report()).collect()
    }

    /// Bytes of the memory pool in use.
    pub fn memory_used_bytes(&self) -> u64 {
        self.runtime_env.memory_pool.reserved() as u64
    }
}

impl Known {
    fn task(&self) -> Option<&Arc<TaskAttempt>> {
        match self {
            Known::Running { task, .. } => Some(task),
            Known::Ended { .. } => None,
        }
    }

    /// How it has ended, as a new session is told.
    fn end(&self) -> Option<TaskUpdate> {
        match self {
            Known::Running { .. } => None,
            Known::Ended { update, sent_rows } => {
                Some(if *sent_rows { unsure(update) } else { update.clone() })
            }
        }
    }

    fn cancel(&self) {
        if let Some(task) = self.task() {
            task.cancel.cancel();
        }
    }
}

/// A task that sent rows through a session that broke cannot say whether all of them arrived.
fn unsure(update: &TaskUpdate) -> TaskUpdate {
    let TaskUpdate::Finished { metrics, .. } = update else { return update.clone() };
    let message = "the connection to the JobManager broke before it was known whether all rows had arrived";
    TaskUpdate::Failed { failure: Failure::new(FailureKind::Io, message), metrics: *metrics }
}
