//! Ended jobs, and a storage for them, for tests.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use thalweg_graph::{
    CheckpointId, Failure, FailureKind, JobId, JobStatus, RuntimeMode, SubtaskId, TaskState, VertexId,
    WorkerId,
};

use super::HistoryStorage;
use crate::{
    clock::Timestamp,
    view::{
        CheckpointCounts, CheckpointRecord, CheckpointStatus, EndedJob, FailureRecord, JobDetails,
        JobSummary, RestoredCheckpoint, SavepointStatus, SubtaskDetails, TaskCounts, TaskRates,
        VertexDetails,
    },
};

/// A job that has ended, of which everything is known.
pub(crate) fn ended_job(number: u128) -> EndedJob {
    let mut tasks = TaskCounts::default();
    tasks.add(TaskState::Failed);
    let at = |ms| Timestamp(1_700_000_000_000 + number as u64 * 1000 + ms);
    let failure = Failure::new(FailureKind::Io, "the disk is away");
    EndedJob {
        details: Arc::new(JobDetails {
            summary: JobSummary {
                job: JobId(number),
                name: format!("job {number}"),
                status: JobStatus::Failed,
                submitted: at(0),
                ended: Some(at(900)),
                changed: at(900),
                tasks,
            },
            mode: Some(RuntimeMode::Streaming),
            statement: "INSERT INTO t SELECT 1".to_owned(),
            status_times: [(JobStatus::Initializing, at(0)), (JobStatus::Failed, at(900))].into(),
            vertices: vec![VertexDetails {
                id: VertexId(0),
                name: "v0".to_owned(),
                parallelism: 1,
                tasks,
                started: Some(at(100)),
                ended: Some(at(800)),
                metrics: Default::default(),
            }],
            waiting: None,
            failure: Some(failure.clone()),
            failures: vec![FailureRecord { at: at(800), failure, task: Some("v0 (1/1)".to_owned()) }],
            failures_truncated: false,
            restarts: 1,
            parallelism: 1,
            plan: Arc::new(serde_json::json!({ "nodes": [] })),
            options: Arc::new([("parallelism.default", "1")].into_iter().collect()),
            is_query: false,
            has_live_result: false,
            result_columns: None,
            checkpoints: vec![CheckpointRecord {
                checkpoint: CheckpointId(7),
                status: CheckpointStatus::Failed("a task failed".to_owned()),
                savepoint: true,
                path: "file:///s".to_owned(),
                triggered: at(300),
                ended: Some(at(400)),
                state_bytes: 1,
                stored_bytes: 2,
                alignment_ms_max: 3,
                sync_ms_max: 4,
                async_ms_max: 5,
                subtasks: 1,
                acknowledged: 1,
                parts: [(SubtaskId { vertex: VertexId(0), index: 0 }, Default::default())].into(),
            }],
            checkpoint_counts: CheckpointCounts { completed: 6, failed: 1, restored: 1 },
            restored: Some(RestoredCheckpoint {
                path: "file:///c".to_owned(),
                checkpoint: Some(CheckpointId(6)),
                savepoint: Some(false),
                at: at(200),
            }),
        }),
        subtasks: vec![vec![SubtaskDetails {
            index: 0,
            attempt: 1,
            state: TaskState::Failed,
            worker: Some(WorkerId("w1".to_owned())),
            endpoint: Some("host:1".to_owned()),
            started: Some(at(100)),
            ended: Some(at(800)),
            metrics: Default::default(),
            rates: TaskRates::default(),
        }]],
        savepoints: [("t1".to_owned(), SavepointStatus::Failed("a task failed".to_owned()))].into(),
    }
}

/// A history's files, in memory, which fail when they are told to.
#[derive(Default)]
pub(crate) struct HistoryInMemory {
    pub(crate) files: Mutex<BTreeMap<String, Bytes>>,
    pub(crate) failing: Mutex<bool>,
}

impl HistoryInMemory {
    fn check(&self) -> Result<(), Failure> {
        match *self.failing.lock() {
            true => Err(Failure::new(FailureKind::Io, "the disk is away")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl HistoryStorage for HistoryInMemory {
    async fn list(&self) -> Result<Vec<String>, Failure> {
        self.check()?;
        Ok(self.files.lock().keys().cloned().collect())
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, Failure> {
        self.check()?;
        Ok(self.files.lock().get(name).cloned())
    }

    async fn write(&self, name: &str, bytes: Bytes) -> Result<(), Failure> {
        self.check()?;
        self.files.lock().insert(name.to_owned(), bytes);
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<(), Failure> {
        self.check()?;
        self.files.lock().remove(name);
        Ok(())
    }
}
