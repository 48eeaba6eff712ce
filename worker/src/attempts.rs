//! What a worker knows of the attempts that it was given: which leader it obeys, what runs, how the rest has ended. Pure: what tasks do and
//! who is told is not here, so that the simulation (`integration/sim`) runs its own tasks by the same rules.
//!
//! An attempt is remembered until its job is forgotten, so that an order given twice is carried out once, and so that how it ended
//! can be told again to a leader that may not have heard it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use thalweg_graph::{
    Attempt, CheckpointId, Failure, FailureKind, JobEpoch, JobId, TaskDescriptor, TaskState, Term,
};
use thalweg_rpc::{RunningTask, TaskUpdate, ToLeader};

/// A task that runs.
pub trait Task {
    /// What it was ordered to do.
    fn descriptor(&self) -> &TaskDescriptor;

    /// The newest checkpoint whose barrier it has met.
    fn newest_barrier(&self) -> Option<CheckpointId>;

    /// Asks it to stop.
    fn cancel(&self);
}

/// All attempts of one worker.
pub struct Attempts<T> {
    /// The highest term seen.
    term: Option<Term>,
    jobs: BTreeMap<JobId, Job<T>>,
}

struct Job<T> {
    epoch: JobEpoch,
    attempts: BTreeMap<Attempt, Known<T>>,
}

enum Known<T> {
    Running { task: Arc<T>, state: TaskState },
    Ended { update: TaskUpdate, sent_rows: bool },
}

impl<T> Default for Attempts<T> {
    fn default() -> Self {
        Self { term: None, jobs: BTreeMap::new() }
    }
}

impl<T: Task> Attempts<T> {
    /// Takes note of the leader's term. `false` if a later leader was seen: the order is to be refused.
    pub fn admits(&mut self, term: Term) -> bool {
        if self.term.is_some_and(|seen| term < seen) {
            tracing::warn!(term = term.0, "refused the order of a leader that was replaced");
            return false;
        }
        self.term = Some(term);
        true
    }

    /// Takes a task up, unless it was taken before or belongs to a restart that was overtaken.
    pub fn take(
        &mut self,
        descriptor: Arc<TaskDescriptor>,
        make: impl FnOnce(Arc<TaskDescriptor>) -> T,
    ) -> Option<Arc<T>> {
        let (attempt, epoch) = (descriptor.attempt, descriptor.epoch);
        let new = || Job { epoch, attempts: BTreeMap::new() };
        let job = self.jobs.entry(attempt.job).or_insert_with(new);
        if epoch < job.epoch {
            tracing::warn!(%attempt, "refused a task of an overtaken restart");
            return None;
        }
        job.epoch = epoch;
        let Entry::Vacant(vacant) = job.attempts.entry(attempt) else { return None };
        let task = Arc::new(make(descriptor));
        vacant.insert(Known::Running { task: Arc::clone(&task), state: TaskState::Initializing });
        Some(task)
    }

    /// Its operators stand and it reads.
    pub fn begun(&mut self, attempt: Attempt) {
        if let Some(Known::Running { state, .. }) =
            self.jobs.get_mut(&attempt.job).and_then(|job| job.attempts.get_mut(&attempt))
        {
            *state = TaskState::Running;
        }
    }

    /// It has ended so. `false` if its job was forgotten: nobody asks.
    pub fn ended(&mut self, task: &TaskDescriptor, update: &TaskUpdate) -> bool {
        let Some(job) = self.jobs.get_mut(&task.attempt.job) else { return false };
        let ended = Known::Ended { update: update.clone(), sent_rows: task.output.is_result() };
        job.attempts.insert(task.attempt, ended);
        true
    }

    /// Asks a task to stop; returns the answer where nobody else will give it.
    pub fn cancel(&self, attempt: Attempt) -> Option<ToLeader> {
        match self.known(attempt) {
            None => Some(ToLeader::Task { attempt, update: TaskUpdate::Canceled }),
            Some(Known::Ended { .. }) => None,
            Some(Known::Running { task, .. }) => {
                task.cancel();
                None
            }
        }
    }

    /// Asks what runs of a job to stop, and drops all that is kept of it.
    pub fn forget(&mut self, job: JobId) {
        let forgotten = self.jobs.remove(&job);
        forgotten
            .iter()
            .flat_map(|job| job.attempts.values())
            .filter_map(Known::task)
            .for_each(|t| t.cancel());
    }

    /// The jobs that are not forgotten.
    pub fn jobs(&self) -> Vec<JobId> {
        self.jobs.keys().copied().collect()
    }

    /// Those of these attempts that run.
    pub fn running(&self, attempts: &[Attempt]) -> Vec<Arc<T>> {
        let known = attempts.iter().filter_map(|attempt| self.known(*attempt)?.task());
        known.cloned().collect()
    }

    /// All that runs.
    pub fn all_running(&self) -> Vec<Arc<T>> {
        let known = self.jobs.values().flat_map(|job| job.attempts.values());
        known.filter_map(Known::task).cloned().collect()
    }

    /// What runs of a job.
    pub fn running_of(&self, job: JobId) -> impl Iterator<Item = &Arc<T>> {
        self.jobs.get(&job).into_iter().flat_map(|job| job.attempts.values()).filter_map(Known::task)
    }

    /// What runs, for a leader that does not know.
    pub fn running_tasks(&self) -> Vec<RunningTask> {
        let known = self.jobs.values().flat_map(|job| &job.attempts);
        let running = known.filter_map(|(attempt, known)| {
            let Known::Running { task, state } = known else { return None };
            let TaskDescriptor { epoch, slot, .. } = *task.descriptor();
            let (attempt, state, barrier) = (*attempt, *state, task.newest_barrier());
            Some(RunningTask { attempt, epoch, state, slot, barrier })
        });
        running.collect()
    }

    /// How tasks have ended that the last leader may not know of.
    pub fn ended_tasks(&self) -> Vec<(Attempt, TaskUpdate)> {
        let attempts = self.jobs.values().flat_map(|job| &job.attempts);
        attempts.filter_map(|(attempt, known)| Some((*attempt, known.end()?))).collect()
    }

    /// How those have ended that a registration called running.
    pub fn ended_since(&self, registered: &[RunningTask]) -> Vec<ToLeader> {
        let ended = registered.iter().filter_map(|task| {
            Some(ToLeader::Task { attempt: task.attempt, update: self.known(task.attempt)?.end()? })
        });
        ended.collect()
    }

    fn known(&self, attempt: Attempt) -> Option<&Known<T>> {
        self.jobs.get(&attempt.job)?.attempts.get(&attempt)
    }
}

impl<T> Known<T> {
    fn task(&self) -> Option<&Arc<T>> {
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
}

/// A task that sent rows through a session that broke cannot say whether all of them arrived.
fn unsure(update: &TaskUpdate) -> TaskUpdate {
    let TaskUpdate::Finished { metrics, .. } = update else { return update.clone() };
    let message = "the connection to the JobManager broke before it was known whether all rows had arrived";
    TaskUpdate::Failed { failure: Failure::new(FailureKind::Io, message), metrics: *metrics }
}
