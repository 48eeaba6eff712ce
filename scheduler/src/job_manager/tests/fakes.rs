//! A planner of four words, a committer that takes notes, workers that do what a test says over the sessions that real ones use.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use thalweg_graph::{
    Attempt, Failure, FailureKind, JobId, Options, SqlError, TaskMetrics,
    checkpoint::Manifest,
    sql_error::{Position, SqlErrorCode},
    table::{Committable, SinkDescriptor},
};
use thalweg_rpc::{Session, TaskUpdate, ToLeader, ToWorker};

use crate::{
    CheckpointStorage, Committer, JobManager, JobManagerConfig, Planner, Script, ScriptStatement,
    StatementOutcome,
    testing::{graph, query, registration},
};

/// Plans `insert`, `query`, `broken` and `nothing`; refuses scripts that contain `syntax`.
pub(super) struct Words;

pub(super) struct OpenWords {
    statements: Vec<ScriptStatement>,
    parallelism: u32,
}

impl Planner for Words {
    fn open(&self, script: &str, _: &Options, _: u32) -> Result<Box<dyn Script>, SqlError> {
        if script.contains("syntax") {
            return Err(SqlError::new(SqlErrorCode::Syntax, "not a word").at(Position { line: 1, column: 3 }));
        }
        let statements = script.lines().zip(1..).map(|(word, line)| ScriptStatement {
            text: word.to_owned(),
            makes_job: word != "set",
            is_query: word == "query",
            line,
        });
        Ok(Box::new(OpenWords { statements: statements.collect(), parallelism: 1 }))
    }
}

#[async_trait]
impl Script for OpenWords {
    fn statements(&self) -> &[ScriptStatement] {
        &self.statements
    }

    fn set_parallelism(&mut self, parallelism: u32) {
        self.parallelism = parallelism;
    }

    async fn run(&mut self, index: usize, job: JobId) -> Result<StatementOutcome, SqlError> {
        Ok(match self.statements[index].text.as_str() {
            "insert" => StatementOutcome::Job(Box::new(graph(job.0, &[self.parallelism], &[], &[]))),
            "query" => StatementOutcome::Job(Box::new(query(job.0))),
            "broken" => return Err(SqlError::new(SqlErrorCode::UnknownTable, "there is no table `t`")),
            _ => StatementOutcome::Done { message: None },
        })
    }
}

/// Notes what is asked of it; fails the first commits as told.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) failures: Mutex<Vec<FailureKind>>,
    pub(super) committed: Mutex<Vec<(JobId, usize)>>,
    pub(super) aborted: Mutex<Vec<JobId>>,
    /// Manifests that were written and not removed, by URL.
    pub(super) manifests: Mutex<BTreeMap<String, Manifest>>,
}

#[async_trait]
impl Committer for Notes {
    async fn commit(&self, job: JobId, _: &SinkDescriptor, staged: &[Committable]) -> Result<(), Failure> {
        if let Some(kind) = self.failures.lock().pop() {
            return Err(Failure::new(kind, "the name node says no"));
        }
        self.committed.lock().push((job, staged.len()));
        Ok(())
    }

    async fn commit_checkpoint(
        &self,
        job: JobId,
        _: &SinkDescriptor,
        prepared: &[Committable],
    ) -> Result<(), Failure> {
        self.committed.lock().push((job, prepared.len()));
        Ok(())
    }

    async fn abort(&self, job: JobId, _: &SinkDescriptor) -> Result<(), Failure> {
        self.aborted.lock().push(job);
        Ok(())
    }
}

#[async_trait]
impl CheckpointStorage for Notes {
    fn check(&self, url: &str) -> Result<(), Failure> {
        match url.contains("forbidden") {
            true => Err(Failure::new(FailureKind::Deterministic, format!("jobs may not name `{url}` here"))),
            false => Ok(()),
        }
    }

    async fn write(&self, url: &str, manifest: &Manifest) -> Result<(), Failure> {
        self.manifests.lock().insert(url.to_owned(), manifest.clone());
        Ok(())
    }

    async fn read(&self, url: &str) -> Result<Manifest, Failure> {
        let found = self.manifests.lock().get(url).cloned();
        found.ok_or_else(|| Failure::new(FailureKind::Io, format!("there is no `{url}`")))
    }

    async fn remove(&self, manifest: &str, _: &[String]) -> Result<(), Failure> {
        self.manifests.lock().remove(manifest);
        Ok(())
    }

    async fn dispose(&self, url: &str) -> Result<(), Failure> {
        let removed = self.manifests.lock().remove(&format!("{}/_metadata", url.trim_end_matches('/')));
        removed.map(drop).ok_or_else(|| Failure::new(FailureKind::Io, format!("there is no `{url}`")))
    }

    async fn remove_folder(&self, folder: &str) -> Result<(), Failure> {
        self.manifests.lock().retain(|kept, _| !kept.starts_with(folder));
        Ok(())
    }
}

pub(super) struct FakeWorker(pub(super) Session<ToLeader, ToWorker>);

impl FakeWorker {
    pub(super) async fn attach(manager: &JobManager, name: &str, slots: u32) -> FakeWorker {
        let (worker, leader) = Session::pair();
        manager.attach_worker(leader);
        let mut worker = FakeWorker(worker);
        worker.say(ToLeader::Register(registration(name, slots))).await;
        assert!(matches!(worker.hear().await, ToWorker::Welcome { .. }));
        worker
    }

    pub(super) async fn say(&self, message: ToLeader) {
        self.0.sender.send(message).await.unwrap();
    }

    pub(super) async fn hear(&mut self) -> ToWorker {
        self.0.receiver.recv().await.expect("the session is open")
    }

    /// The attempts of the next deploy order.
    pub(super) async fn deployed(&mut self) -> Vec<Attempt> {
        loop {
            if let ToWorker::Deploy { tasks, .. } = self.hear().await {
                return tasks.iter().map(|task| task.attempt).collect();
            }
        }
    }

    pub(super) async fn update(&self, attempt: Attempt, update: TaskUpdate) {
        self.say(ToLeader::Task { attempt, update }).await;
    }

    pub(super) async fn finish(&self, attempt: Attempt) {
        let committables = vec![Committable(Bytes::from_static(b"file"))];
        self.update(
            attempt,
            TaskUpdate::Finished { metrics: TaskMetrics::default(), committables, last: None },
        )
        .await;
    }

    pub(super) async fn fail(&self, attempt: Attempt, kind: FailureKind) {
        let failure = Failure::new(kind, "it broke");
        self.update(attempt, TaskUpdate::Failed { failure, metrics: TaskMetrics::default() }).await;
    }
}

pub(super) async fn manager(options: &[(&str, &str)]) -> (JobManager, Arc<Notes>) {
    let at_once = [("restart-strategy.exponential-delay.initial-backoff", "0 ms")];
    let options = at_once.iter().chain(options).copied().collect();
    manager_of(JobManagerConfig { options, ..JobManagerConfig::default() }).await
}

pub(super) async fn manager_of(config: JobManagerConfig) -> (JobManager, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let manager = JobManager::start(config, Arc::new(Words), notes.clone(), notes.clone()).await.unwrap();
    (manager, notes)
}
