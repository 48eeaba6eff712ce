//! The replicated state and how a committed command changes it: a pure function, so that every member reaches the same state.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use thalweg_graph::{
    CheckpointId, Failure, JobGraph, JobId, JobStatus, Term, WorkerId, checkpoint::CompletedCheckpoint,
    options, table::SinkOutput,
};

use super::command::{Command, MemberId, PlannedLater, ScriptRecord};
use crate::{
    access::{TokenRecord, Tokens, token::TOKENS_MAX},
    clock::Timestamp,
    job_master::SavepointOrder,
    view::JobEnd,
};

/// What the leader must now do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A member leads from here on.
    Led(MemberId),
    /// Queries were accepted: readers may wait for their rows.
    Expect(Vec<JobId>),
    /// A restart is known.
    Restarted(JobId, u32),
    /// Go on with another graph of the job, whose attempts have this number at least.
    Rescale(Arc<JobGraph>, u32),
    /// That a job ends without output is known.
    EndDecided(JobId),
    /// Take a savepoint.
    TakeSavepoint(JobId, SavepointOrder),
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
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
    /// Another script was accepted with the idempotency key meanwhile.
    #[error("the idempotency key `{0}` was used")]
    KeyUsed(String),
    /// A token has this name.
    #[error("there is a token `{0}` already: revoke it, or name the new one otherwise")]
    TokenExists(String),
    /// No token has this name.
    #[error("there is no token `{0}`")]
    UnknownToken(String),
    /// More tokens than anybody keeps an eye on.
    #[error("there are {0} tokens, which is as many as are kept: revoke some")]
    TooManyTokens(usize),
}

/// What is kept of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// The newest restart of any of its parts.
    pub generation: u32,
    /// The first attempts' number of the graph that it has now: those before are of a graph that was replaced.
    #[serde(default)]
    pub graph_since: u32,
    /// How often its graph was replaced: so many of its generations are no restarts.
    #[serde(default)]
    pub rescales: u32,
    /// How it ends without output, once that is decided.
    pub ending: Option<JobEnd>,
    /// What is to be made visible, from the decision to the end.
    pub commit: Option<Vec<SinkOutput>>,
    /// The complete checkpoints that are kept, the oldest first, without savepoints.
    pub checkpoints: VecDeque<CompletedCheckpoint>,
    /// The newest that is complete, a savepoint too.
    pub complete_upto: Option<CheckpointId>,
    /// The manifest of that: what the job goes on from.
    pub restored: Option<String>,
    /// Savepoints that were asked for, by their triggers: the newest, and those that are not complete.
    #[serde(default)]
    pub savepoints: BTreeMap<String, SavepointRecord>,
    /// What was prepared for checkpoints and is not known to be visible.
    pub open_commits: BTreeMap<CheckpointId, Vec<SinkOutput>>,
    /// How and when it ended.
    pub end: Option<(JobEnd, Timestamp)>,
}

/// A savepoint that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavepointRecord {
    /// Its place in the order of all of its job.
    pub number: u64,
    /// What was asked for.
    pub order: SavepointOrder,
    /// Its folder, or why there is none; `None` while it is not complete.
    pub outcome: Option<Result<String, String>>,
}

/// Savepoints that are remembered of a job behind their ends.
const SAVEPOINTS_MAX: usize = 64;

/// An idempotency key that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Of the script.
    pub fingerprint: u64,
    /// Its jobs.
    pub jobs: Vec<PlannedLater>,
}

/// An accepted script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedScript {
    /// What to run.
    pub script: Box<ScriptRecord>,
    /// Its jobs, in order.
    pub jobs: Vec<PlannedLater>,
}

/// The replicated state.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct State {
    term: Term,
    workers: BTreeSet<WorkerId>,
    jobs: BTreeMap<JobId, JobRecord>,
    jobs_accepted: u64,
    keys: BTreeMap<String, KeyRecord>,
    /// Scripts of which a job has not ended, by their first job.
    scripts: BTreeMap<JobId, AcceptedScript>,
    ended: VecDeque<JobId>,
    /// Shared with those who let callers in.
    #[serde(default)]
    tokens: Arc<Tokens>,
}

impl State {
    /// Applies one command that was committed in a term, and says what the leader must now do.
    pub fn apply(&mut self, command: Command, term: Term) -> Result<Vec<Effect>, Refusal> {
        match command {
            Command::Lead { member } => {
                self.term = term;
                Ok(vec![Effect::Led(member)])
            }
            Command::WorkerCame { worker } => {
                self.workers.insert(worker);
                Ok(Vec::new())
            }
            Command::WorkerLeft { worker } => {
                self.workers.remove(&worker);
                Ok(Vec::new())
            }
            Command::AcceptScript { key, script, jobs, at } => self.accept_script(key, script, jobs, at),
            Command::SubmitJob { graph, at } => self.submit(graph, at),
            Command::CancelJob { job } => self.cancel(job),
            Command::RestartJob { job, generation } => {
                let record = self.running(job)?;
                record.generation = record.generation.max(generation);
                Ok(vec![Effect::Restarted(job, generation)])
            }
            Command::RescaleJob { graph } => self.rescale(graph),
            Command::DecideCommit { job, sinks } => {
                self.running(job)?.commit = Some(sinks.clone());
                Ok(vec![Effect::Commit(job, sinks)])
            }
            Command::DecideEnd { job, status, failure } => {
                self.running(job)?.ending = Some(JobEnd { status, failure });
                Ok(vec![Effect::EndDecided(job)])
            }
            Command::CompleteCheckpoint { job, completed, sinks, trigger } => {
                self.complete_checkpoint(job, completed, sinks, trigger)
            }
            Command::OrderSavepoint { job, order } => {
                self.running(job)?.order_savepoint(&order);
                Ok(vec![Effect::TakeSavepoint(job, order)])
            }
            Command::RefuseSavepoint { job, trigger, why } => {
                if let Some(savepoint) = self.running(job)?.savepoints.get_mut(&trigger) {
                    savepoint.outcome = Some(Err(why));
                }
                Ok(Vec::new())
            }
            Command::CheckpointVisible { job, checkpoint } => {
                self.running(job)?.open_commits.remove(&checkpoint);
                Ok(Vec::new())
            }
            Command::EndJob { job, end, at, ended_max } => self.end(job, end, at, ended_max as usize),
            Command::CreateToken { token } => self.create_token(token),
            Command::RevokeToken { name } => match Arc::make_mut(&mut self.tokens).remove(&name) {
                Some(_) => Ok(Vec::new()),
                None => Err(Refusal::UnknownToken(name)),
            },
        }
    }

    fn create_token(&mut self, token: TokenRecord) -> Result<Vec<Effect>, Refusal> {
        if self.tokens.contains_key(&token.name) {
            return Err(Refusal::TokenExists(token.name));
        }
        if self.tokens.len() >= TOKENS_MAX {
            return Err(Refusal::TooManyTokens(TOKENS_MAX));
        }
        Arc::make_mut(&mut self.tokens).insert(token.name.clone(), token);
        Ok(Vec::new())
    }

    fn accept_script(
        &mut self,
        key: Option<(String, u64)>,
        script: Box<ScriptRecord>,
        jobs: Vec<PlannedLater>,
        at: Timestamp,
    ) -> Result<Vec<Effect>, Refusal> {
        if let Some(job) = jobs.iter().find(|job| self.jobs.contains_key(&job.job)) {
            return Err(Refusal::JobExists(job.job));
        }
        if let Some((key, _)) = key.as_ref().filter(|(key, _)| self.keys.contains_key(key)) {
            return Err(Refusal::KeyUsed(key.clone()));
        }
        for PlannedLater { job, name, statement, is_query, .. } in jobs.clone() {
            self.insert(job, name, statement, is_query, None, at);
        }
        if let Some((key, fingerprint)) = key {
            self.keys.insert(key, KeyRecord { fingerprint, jobs: jobs.clone() });
        }
        let queries = jobs.iter().filter(|job| job.is_query).map(|job| job.job).collect();
        if let Some(first) = jobs.first().map(|job| job.job) {
            self.scripts.insert(first, AcceptedScript { script, jobs });
        }
        Ok(vec![Effect::Expect(queries)])
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
            generation: 0,
            graph_since: 0,
            rescales: 0,
            ending: None,
            commit: None,
            checkpoints: VecDeque::new(),
            complete_upto: None,
            restored: None,
            savepoints: BTreeMap::new(),
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

    fn rescale(&mut self, graph: Arc<JobGraph>) -> Result<Vec<Effect>, Refusal> {
        let job = graph.job;
        let record = self.running(job)?;
        if record.commit.is_some() || record.ending.is_some() || record.cancel_wished {
            return Err(Refusal::JobEnded(job));
        }
        // No attempt has this number: none is deployed before its number is known here.
        record.generation += 1;
        record.graph_since = record.generation;
        record.rescales += 1;
        record.graph = Some(graph.clone());
        Ok(vec![Effect::Rescale(graph, record.generation)])
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
        trigger: Option<String>,
    ) -> Result<Vec<Effect>, Refusal> {
        let record = self.running(job)?;
        if let Some(savepoint) = trigger.and_then(|trigger| record.savepoints.get_mut(&trigger)) {
            savepoint.outcome = Some(Ok(completed.folder().to_owned()));
        }
        let checkpoint = completed.checkpoint;
        record.open_commits.insert(checkpoint, sinks.clone());
        record.complete_upto = record.complete_upto.max(Some(checkpoint));
        record.restored = Some(completed.manifest.clone());
        if !completed.savepoint {
            record.checkpoints.push_back(completed);
            let options = record.graph.as_ref().map(|graph| &graph.options);
            let kept = options.and_then(|options| options.get(&options::CHECKPOINTS_RETAINED).ok());
            while record.checkpoints.len() > kept.unwrap_or(1).max(1) as usize {
                record.checkpoints.pop_front();
            }
        }
        Ok(vec![Effect::CommitCheckpoint(job, checkpoint, sinks)])
    }

    fn end(
        &mut self,
        job: JobId,
        end: JobEnd,
        at: Timestamp,
        ended_max: usize,
    ) -> Result<Vec<Effect>, Refusal> {
        let record = self.running(job)?;
        record.end = Some((end, at));
        record.graph = None;
        record.commit = None;
        record.ending = None;
        record.open_commits.clear();
        self.ended.push_back(job);
        let jobs = &self.jobs;
        let has_ended = |later: &PlannedLater| jobs.get(&later.job).is_none_or(|record| record.end.is_some());
        self.scripts.retain(|_, accepted| !accepted.jobs.iter().all(has_ended));
        let mut effects = vec![Effect::Ended(job)];
        while self.ended.len() > ended_max {
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

    /// Those who may come in.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// The workers that have registered and were not lost.
    pub fn workers(&self) -> &BTreeSet<WorkerId> {
        &self.workers
    }

    /// Scripts of which a job has not ended.
    pub fn scripts(&self) -> impl Iterator<Item = &AcceptedScript> {
        self.scripts.values()
    }

    /// Every job that is remembered.
    pub fn jobs(&self) -> impl Iterator<Item = (JobId, &JobRecord)> {
        self.jobs.iter().map(|(job, record)| (*job, record))
    }

    /// How many of them have not ended.
    pub fn open_jobs(&self) -> usize {
        self.jobs.len() - self.ended.len()
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
    fn order_savepoint(&mut self, order: &SavepointOrder) {
        let number = self.savepoints.values().map(|savepoint| savepoint.number + 1).max().unwrap_or(0);
        let record = SavepointRecord { number, order: order.clone(), outcome: None };
        self.savepoints.insert(order.trigger.clone(), record);
        let ended = self.savepoints.iter().filter(|(_, savepoint)| savepoint.outcome.is_some());
        let oldest = ended.min_by_key(|(_, savepoint)| savepoint.number).map(|(trigger, _)| trigger.clone());
        if self.savepoints.len() > SAVEPOINTS_MAX
            && let Some(oldest) = oldest
        {
            self.savepoints.remove(&oldest);
        }
    }

    /// Savepoints that were asked for and are not complete, in order.
    pub fn open_savepoints(&self) -> Vec<SavepointOrder> {
        let mut open: Vec<_> =
            self.savepoints.values().filter(|savepoint| savepoint.outcome.is_none()).collect();
        open.sort_by_key(|savepoint| savepoint.number);
        open.into_iter().map(|savepoint| savepoint.order.clone()).collect()
    }

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
    use crate::access::{Role, TokenDigest};

    const TERM: Term = Term(1);

    fn later(job: u128) -> PlannedLater {
        let (name, statement) = ("j".to_owned(), "INSERT".to_owned());
        PlannedLater { job: JobId(job), name, statement, line: 1, is_query: false }
    }

    fn accept(state: &mut State, key: &str, job: u128) -> Result<Vec<Effect>, Refusal> {
        let (key, jobs) = (Some((key.to_owned(), 7)), vec![later(job)]);
        let script = ScriptRecord { text: "INSERT".to_owned(), name: None, options: Default::default() };
        state.apply(Command::AcceptScript { key, script: Box::new(script), jobs, at: Timestamp(1) }, TERM)
    }

    fn end(state: &mut State, job: u128, ended_max: u32) -> Result<Vec<Effect>, Refusal> {
        let end = JobEnd { status: JobStatus::Canceled, failure: None };
        state.apply(Command::EndJob { job: JobId(job), end, at: Timestamp(2), ended_max }, TERM)
    }

    #[test]
    fn old_jobs_are_forgotten_with_their_keys_and_scripts() {
        let mut state = State::default();
        accept(&mut state, "a", 1).unwrap();
        accept(&mut state, "b", 2).unwrap();
        assert_eq!(state.scripts().count(), 2);
        assert_eq!(end(&mut state, 1, 1), Ok(vec![Effect::Ended(JobId(1))]));
        assert!(state.key("a").is_some());
        assert_eq!(state.scripts().count(), 1, "nobody goes on with a script that is through");
        assert_eq!(end(&mut state, 2, 1), Ok(vec![Effect::Ended(JobId(2)), Effect::Forgotten(JobId(1))]));
        assert!(state.job(JobId(1)).is_none() && state.key("a").is_none());
        assert_eq!(state.key("b").map(|key| key.fingerprint), Some(7));
    }

    #[test]
    fn tokens_have_names_of_their_own_and_are_not_without_number() {
        let mut state = State::default();
        let token = |name: &str| TokenRecord {
            name: name.to_owned(),
            digest: TokenDigest::of(name),
            role: Role::Read,
            created: Timestamp(1),
            expires: None,
            by: "loopback".to_owned(),
        };
        let create =
            |state: &mut State, name: &str| state.apply(Command::CreateToken { token: token(name) }, TERM);
        let revoke =
            |state: &mut State, name: &str| state.apply(Command::RevokeToken { name: name.to_owned() }, TERM);
        assert_eq!(create(&mut state, "a"), Ok(Vec::new()));
        assert_eq!(create(&mut state, "a"), Err(Refusal::TokenExists("a".to_owned())));
        assert_eq!(revoke(&mut state, "a"), Ok(Vec::new()));
        assert_eq!(revoke(&mut state, "a"), Err(Refusal::UnknownToken("a".to_owned())));
        for number in 0..TOKENS_MAX {
            assert_eq!(create(&mut state, &number.to_string()), Ok(Vec::new()));
        }
        assert_eq!(create(&mut state, "one more"), Err(Refusal::TooManyTokens(TOKENS_MAX)));
    }

    #[test]
    fn a_replaced_graph_has_attempts_of_a_number_of_its_own_and_none_comes_behind_the_decision_to_end() {
        let mut state = State::default();
        let plan = |parallelism| Arc::new(crate::testing::graph(1, &[parallelism], &[], &[]));
        state.apply(Command::SubmitJob { graph: plan(2), at: Timestamp(1) }, TERM).unwrap();
        state.apply(Command::RestartJob { job: JobId(1), generation: 1 }, TERM).unwrap();
        let effects = state.apply(Command::RescaleJob { graph: plan(3) }, TERM);
        assert_eq!(effects, Ok(vec![Effect::Rescale(plan(3), 2)]));
        let record = state.job(JobId(1)).unwrap();
        assert_eq!((record.generation, record.graph_since, record.rescales), (2, 2, 1));
        let decide = Command::DecideEnd { job: JobId(1), status: JobStatus::Canceled, failure: None };
        state.apply(decide, TERM).unwrap();
        let refused = state.apply(Command::RescaleJob { graph: plan(4) }, TERM);
        assert_eq!(refused, Err(Refusal::JobEnded(JobId(1))));
    }

    #[test]
    fn an_ended_job_never_changes_again() {
        let mut state = State::default();
        accept(&mut state, "a", 1).unwrap();
        end(&mut state, 1, 9).unwrap();
        assert_eq!(end(&mut state, 1, 9), Err(Refusal::JobEnded(JobId(1))));
        assert_eq!(state.apply(Command::CancelJob { job: JobId(1) }, TERM), Ok(vec![]));
        assert_eq!(state.job(JobId(1)).map(JobRecord::status), Some(JobStatus::Canceled));
    }
}
