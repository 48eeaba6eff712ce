//! The tasks of this worker by job: orders of the leader come in, how tasks change goes out. What is known of each attempt is in
//! [`attempts`](crate::attempts).

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
    Attempt, CheckpointId, Failure, FailureKind, JobId, Options, TaskDescriptor, TaskReport, Term,
    checkpoint::Barrier, exchange::ResultPartitionId,
};
use thalweg_plan::session_config;
use thalweg_rpc::{RunningTask, TaskUpdate, ToLeader};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::task::TaskTracker;

use crate::{
    attempts::{Attempts, Task},
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
    attempts: Attempts<TaskAttempt>,
    /// What the tasks of a job share, of those jobs that are not forgotten.
    contexts: HashMap<JobId, Arc<TaskContext>>,
    /// The newest job's functions and settings: the next one's are the same, as a rule.
    newest: Option<(Arc<Options>, Arc<TaskContext>)>,
}

impl Task for TaskAttempt {
    fn descriptor(&self) -> &TaskDescriptor {
        &self.descriptor
    }

    fn newest_barrier(&self) -> Option<CheckpointId> {
        self.newest_barrier()
    }

    fn cancel(&self) {
        self.cancel.cancel();
    }
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
        self.state.lock().attempts.admits(term)
    }

    /// Speaks to this leader from now on; returns what it must be told at once: how tasks ended that its registration called running.
    pub fn connect(&self, leader: mpsc::Sender<ToLeader>, registered: &[RunningTask]) -> Vec<ToLeader> {
        let state = self.state.lock();
        self.leader.connect(leader);
        state.attempts.ended_since(registered)
    }

    /// How tasks have ended that the last leader may not know of.
    pub fn ended_tasks(&self) -> Vec<(Attempt, TaskUpdate)> {
        self.state.lock().attempts.ended_tasks()
    }

    /// The session is over.
    pub fn disconnect(&self) {
        self.leader.disconnect();
    }

    /// Starts a task, unless it was started before or belongs to a restart that was overtaken.
    pub fn deploy(self: &Arc<Self>, descriptor: Arc<TaskDescriptor>) {
        let job = descriptor.attempt.job;
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(session) = self.leader.session() else { return };
        let context = match state.contexts.entry(job) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(vacant) => {
                let context = self.context(&descriptor.options, &mut state.newest);
                self.exchange.store.open_job(job);
                Arc::clone(vacant.insert(context))
            }
        };
        let Some(task) = state.attempts.take(descriptor, TaskAttempt::new) else { return };
        let environment = TaskEnvironment {
            exchange: Arc::clone(&self.exchange),
            connectors: Arc::clone(&self.connectors),
            job: context,
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
        state.attempts.running_of(job).any(|task| task.holds_build_sides())
    }

    async fn begun(&self, attempt: Attempt) {
        self.state.lock().attempts.begun(attempt);
        self.report(attempt, TaskUpdate::Running).await;
    }

    async fn ended(&self, task: &TaskAttempt, update: TaskUpdate) {
        if self.state.lock().attempts.ended(&task.descriptor, &update) {
            self.report(task.descriptor.attempt, update).await;
        }
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
        self.state.lock().attempts.running(attempts).into_iter()
    }

    /// Asks a task to stop; returns the answer where nobody else will give it.
    pub fn cancel(&self, attempt: Attempt) -> Option<ToLeader> {
        self.state.lock().attempts.cancel(attempt)
    }

    /// Drops outputs that nobody needs any more.
    pub fn release(&self, partitions: &[ResultPartitionId]) {
        partitions.iter().for_each(|id| self.exchange.store.release(*id));
    }

    /// Stops what runs of a job and drops all that is kept of it.
    pub fn forget(&self, job: JobId) {
        let mut state = self.state.lock();
        state.attempts.forget(job);
        state.contexts.remove(&job);
        drop(state);
        self.exchange.store.forget_job(job);
    }

    /// Stops everything and waits until it has, for at most `patience`.
    pub async fn stop(&self, patience: Duration) {
        let jobs = self.state.lock().attempts.jobs();
        jobs.into_iter().for_each(|job| self.forget(job));
        self.tracker.close();
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            tracing::warn!("tasks did not stop within {} s", patience.as_secs());
        }
    }

    /// What runs, for a leader that does not know.
    pub fn running_tasks(&self) -> Vec<RunningTask> {
        self.state.lock().attempts.running_tasks()
    }

    /// What all that runs says of itself.
    pub fn reports(&self) -> Vec<TaskReport> {
        let running = self.state.lock().attempts.all_running();
        running.iter().map(|task| task.report()).collect()
    }

    /// The finished outputs that it holds for other tasks.
    pub fn partitions(&self) -> Vec<ResultPartitionId> {
        self.exchange.store.files()
    }

    /// Bytes of the memory pool in use.
    pub fn memory_used_bytes(&self) -> u64 {
        self.runtime_env.memory_pool.reserved() as u64
    }
}
