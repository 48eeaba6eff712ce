//! The replicated state: what must outlive the leader. Jobs with their graphs and wished state, decided commits, ends, and the
//! idempotency keys of scripts.
//!
//! `apply` is a pure function of the state and one committed command: no clock (times are in the commands), no randomness, no
//! I/O, so that every member reaches the same state. Today the quorum has one member, which applies a command when it is
//! proposed; what can be asked of workers again is not here but in the job masters' memory.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use thalweg_graph::{
    CheckpointId, Failure, JobGraph, JobId, JobStatus, Term, checkpoint::CompletedCheckpoint,
    table::SinkOutput,
};

use crate::{clock::Timestamp, view::JobEnd};

/// A change of the replicated state.
#[derive(Debug, Clone)]
pub enum Command {
    /// A script was accepted: its jobs exist, without graphs.
    AcceptScript {
        /// The client's key and what the script was, by a fingerprint.
        key: Option<(String, u64)>,
        /// Its jobs.
        jobs: Vec<PlannedLater>,
        /// When.
        at: Timestamp,
    },
    /// A job has its graph.
    SubmitJob {
        /// The graph.
        graph: Arc<JobGraph>,
        /// When.
        at: Timestamp,
    },
    /// The user wants a job to end.
    CancelJob {
        /// Which.
        job: JobId,
    },
    /// All output is staged: from now on the job can only finish, whoever leads.
    DecideCommit {
        /// Which.
        job: JobId,
        /// What is to be made visible.
        sinks: Vec<SinkOutput>,
    },
    /// A checkpoint is complete: from now on it is the one to go on from, and what was prepared for it is to be made visible, whoever
    /// leads.
    CompleteCheckpoint {
        /// Of which job.
        job: JobId,
        /// The checkpoint.
        completed: CompletedCheckpoint,
        /// What is to be made visible.
        sinks: Vec<SinkOutput>,
    },
    /// What was prepared for a checkpoint is visible.
    CheckpointVisible {
        /// Of which job.
        job: JobId,
        /// Which.
        checkpoint: CheckpointId,
    },
    /// A job is over.
    EndJob {
        /// Which.
        job: JobId,
        /// How.
        end: JobEnd,
        /// When.
        at: Timestamp,
    },
}

/// A job of a script before its statement's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLater {
    /// Its id.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Its statement.
    pub statement: String,
    /// The line on which that starts.
    pub line: u64,
    /// Whether it has a result for the client.
    pub is_query: bool,
}

/// What the leader must now do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Run the job.
    Run(Arc<JobGraph>),
    /// End the job: it runs.
    Cancel(JobId),
    /// Make its output visible.
    Commit(JobId, Vec<SinkOutput>),
    /// Make a checkpoint's output visible.
    CommitCheckpoint(JobId, CheckpointId, Vec<SinkOutput>),
    /// The job is over.
    Ended(JobId),
    /// The job is dropped: too many ended after it.
    Forgotten(JobId),
}

/// A command that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such job.
    #[error("there is no job `{0}`")]
    UnknownJob(JobId),
    /// It exists already.
    #[error("job `{0}` exists already")]
    JobExists(JobId),
    /// It was cancelled or failed before it was planned.
    #[error("job `{0}` has ended")]
    JobEnded(JobId),
}

/// What is kept of a job.
#[derive(Debug, Clone)]
pub struct JobRecord {
    /// Position in the order of acceptance.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// The statement it comes from.
    pub statement: String,
    /// Whether it has a result for the client.
    pub is_query: bool,
    /// When it was accepted.
    pub submitted: Timestamp,
    /// Its graph, from its planning to its end.
    pub graph: Option<Arc<JobGraph>>,
    /// Whether the user wants it to end.
    pub cancel_wished: bool,
    /// What is to be made visible, from the decision to the end.
    pub commit: Option<Vec<SinkOutput>>,
    /// The newest complete checkpoint, not a savepoint.
    pub checkpoint: Option<CompletedCheckpoint>,
    /// What was prepared for checkpoints and is not known to be visible.
    pub open_commits: BTreeMap<CheckpointId, Vec<SinkOutput>>,
    /// How and when it ended.
    pub end: Option<(JobEnd, Timestamp)>,
}

/// An idempotency key that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Of the script.
    pub fingerprint: u64,
    /// Its jobs.
    pub jobs: Vec<PlannedLater>,
}

/// The replicated state.
#[derive(Debug)]
pub struct State {
    term: Term,
    jobs: BTreeMap<JobId, JobRecord>,
    jobs_accepted: u64,
    keys: BTreeMap<String, KeyRecord>,
    ended: VecDeque<JobId>,
    ended_max: usize,
}

impl State {
    /// Nothing yet. Of the jobs that end the newest `ended_max` are remembered.
    pub fn new(ended_max: usize) -> Self {
        Self {
            term: Term(1),
            jobs: BTreeMap::new(),
            jobs_accepted: 0,
            keys: BTreeMap::new(),
            ended: VecDeque::new(),
            ended_max,
        }
    }

    /// Applies one committed command and says what the leader must now do.
    pub fn apply(&mut self, command: Command) -> Result<Vec<Effect>, Refusal> {
        match command {
            Command::AcceptScript { key, jobs, at } => self.accept_script(key, jobs, at),
            Command::SubmitJob { graph, at } => self.submit(graph, at),
            Command::CancelJob { job } => self.cancel(job),
            Command::DecideCommit { job, sinks } => {
                self.running(job)?.commit = Some(sinks.clone());
                Ok(vec![Effect::Commit(job, sinks)])
            }
            Command::CompleteCheckpoint { job, completed, sinks } => {
                self.complete_checkpoint(job, completed, sinks)
            }
            Command::CheckpointVisible { job, checkpoint } => {
                self.running(job)?.open_commits.remove(&checkpoint);
                Ok(Vec::new())
            }
            Command::EndJob { job, end, at } => self.end(job, end, at),
        }
    }

    fn accept_script(
        &mut self,
        key: Option<(String, u64)>,
        jobs: Vec<PlannedLater>,
        at: Timestamp,
    ) -> Result<Vec<Effect>, Refusal> {
        if let Some(job) = jobs.iter().find(|job| self.jobs.contains_key(&job.job)) {
            return Err(Refusal::JobExists(job.job));
        }
        for PlannedLater { job, name, statement, is_query, .. } in jobs.clone() {
            self.insert(job, name, statement, is_query, None, at);
        }
        if let Some((key, fingerprint)) = key {
            self.keys.insert(key, KeyRecord { fingerprint, jobs });
        }
        Ok(Vec::new())
    }

    fn insert(
        &mut self,
        job: JobId,
        name: String,
        statement: String,
        is_query: bool,
        graph: Option<Arc<JobGraph>>,
        submitted: Timestamp,
    ) {
        self.jobs_accepted += 1;
        let record = JobRecord {
            number: self.jobs_accepted,
            name,
            statement,
            is_query,
            submitted,
            graph,
            cancel_wished: false,
            commit: None,
            checkpoint: None,
            open_commits: BTreeMap::new(),
            end: None,
        };
        self.jobs.insert(job, record);
    }

    fn submit(&mut self, graph: Arc<JobGraph>, at: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let job = graph.job;
        match self.jobs.get_mut(&job) {
            None => {
                let (name, statement) = (graph.name.clone(), graph.statement.clone());
                let is_query = graph.result_columns.is_some();
                self.insert(job, name, statement, is_query, Some(graph.clone()), at);
            }
            Some(record) if record.end.is_some() => return Err(Refusal::JobEnded(job)),
            Some(record) if record.graph.is_some() => return Err(Refusal::JobExists(job)),
            Some(record) => {
                record.name = graph.name.clone();
                record.graph = Some(graph.clone());
            }
        }
        Ok(vec![Effect::Run(graph)])
    }

    fn cancel(&mut self, job: JobId) -> Result<Vec<Effect>, Refusal> {
        let record = self.jobs.get_mut(&job).ok_or(Refusal::UnknownJob(job))?;
        if record.end.is_some() || record.cancel_wished {
            return Ok(Vec::new());
        }
        record.cancel_wished = true;
        Ok(vec![Effect::Cancel(job)])
    }

    fn complete_checkpoint(
        &mut self,
        job: JobId,
        completed: CompletedCheckpoint,
        sinks: Vec<SinkOutput>,
    ) -> Result<Vec<Effect>, Refusal> {
        let record = self.running(job)?;
        let checkpoint = completed.checkpoint;
        record.open_commits.insert(checkpoint, sinks.clone());
        if !completed.savepoint {
            record.checkpoint = Some(completed);
        }
        Ok(vec![Effect::CommitCheckpoint(job, checkpoint, sinks)])
    }

    fn end(&mut self, job: JobId, end: JobEnd, at: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let record = self.running(job)?;
        record.end = Some((end, at));
        record.graph = None;
        record.commit = None;
        record.open_commits.clear();
        self.ended.push_back(job);
        let mut effects = vec![Effect::Ended(job)];
        while self.ended.len() > self.ended_max {
            let oldest = self.ended.pop_front().expect("it is longer than a length");
            self.jobs.remove(&oldest);
            let jobs = &self.jobs;
            self.keys.retain(|_, key| key.jobs.iter().any(|job| jobs.contains_key(&job.job)));
            effects.push(Effect::Forgotten(oldest));
        }
        Ok(effects)
    }

    fn running(&mut self, job: JobId) -> Result<&mut JobRecord, Refusal> {
        let record = self.jobs.get_mut(&job).ok_or(Refusal::UnknownJob(job))?;
        if record.end.is_some() { Err(Refusal::JobEnded(job)) } else { Ok(record) }
    }

    /// The term of the leader.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Every job that is remembered.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &JobRecord)> {
        self.jobs.iter().map(|(job, record)| (*job, record))
    }

    /// One job.
    pub fn job(&self, job: JobId) -> Option<&JobRecord> {
        self.jobs.get(&job)
    }

    /// What an idempotency key was used for.
    pub fn key(&self, key: &str) -> Option<&KeyRecord> {
        self.keys.get(key)
    }
}

impl JobRecord {
    /// Its status as far as the replicated state knows it.
    pub fn status(&self) -> JobStatus {
        match &self.end {
            Some((end, _)) => end.status,
            None if self.graph.is_none() => JobStatus::Initializing,
            None => JobStatus::Created,
        }
    }

    /// Why it failed.
    pub fn failure(&self) -> Option<&Failure> {
        self.end.as_ref().and_then(|(end, _)| end.failure.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(job: u128) -> PlannedLater {
        let (name, statement) = ("j".to_owned(), "INSERT".to_owned());
        PlannedLater { job: JobId(job), name, statement, line: 1, is_query: false }
    }

    fn accept(state: &mut State, key: &str, job: u128) -> Result<Vec<Effect>, Refusal> {
        let (key, jobs) = (Some((key.to_owned(), 7)), vec![later(job)]);
        state.apply(Command::AcceptScript { key, jobs, at: Timestamp(1) })
    }

    fn end(state: &mut State, job: u128) -> Result<Vec<Effect>, Refusal> {
        let end = JobEnd { status: JobStatus::Canceled, failure: None };
        state.apply(Command::EndJob { job: JobId(job), end, at: Timestamp(2) })
    }

    #[test]
    fn old_jobs_are_forgotten_with_their_keys() {
        let mut state = State::new(1);
        accept(&mut state, "a", 1).unwrap();
        accept(&mut state, "b", 2).unwrap();
        assert_eq!(end(&mut state, 1), Ok(vec![Effect::Ended(JobId(1))]));
        assert!(state.key("a").is_some());
        assert_eq!(end(&mut state, 2), Ok(vec![Effect::Ended(JobId(2)), Effect::Forgotten(JobId(1))]));
        assert!(state.job(JobId(1)).is_none() && state.key("a").is_none());
        assert_eq!(state.key("b").map(|key| key.fingerprint), Some(7));
    }

    #[test]
    fn an_ended_job_never_changes_again() {
        let mut state = State::new(9);
        accept(&mut state, "a", 1).unwrap();
        end(&mut state, 1).unwrap();
        assert_eq!(end(&mut state, 1), Err(Refusal::JobEnded(JobId(1))));
        assert_eq!(state.apply(Command::CancelJob { job: JobId(1) }), Ok(vec![]));
        assert_eq!(state.job(JobId(1)).map(JobRecord::status), Some(JobStatus::Canceled));
    }
}
