//! Job graphs, registrations and ended jobs for tests.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use thalweg_graph::{
    BUILD_ID, CheckpointId, EdgeId, Failure, FailureKind, Fragment, JobEdge, JobGraph, JobId, JobStatus,
    JobVertex, Options, RuntimeMode, SubtaskId, TaskState, VertexId, VertexOutput, WorkerId,
    exchange::{ExchangeKind, Partitioning},
    source::{SourceSplits, Split},
    table::{Column, SinkDescriptor, TableDescriptor, TablePath},
};
use thalweg_rpc::Registration;

use crate::{
    clock::Timestamp,
    history::HistoryStorage,
    view::{
        CheckpointCounts, CheckpointRecord, CheckpointStatus, EndedJob, FailureRecord, JobDetails,
        JobSummary, RestoredCheckpoint, SavepointStatus, SubtaskDetails, TaskCounts, TaskRates,
        VertexDetails,
    },
};

/// A job of vertices with these parallelisms; the last one writes into a table.
pub(crate) fn graph(
    job: u128,
    parallelisms: &[u32],
    edges: &[(u32, u32, ExchangeKind)],
    options: &[(&str, &str)],
) -> JobGraph {
    let last = parallelisms.len() - 1;
    let vertices = parallelisms.iter().enumerate().map(|(position, parallelism)| JobVertex {
        id: VertexId(position as u32),
        name: format!("v{position}"),
        parallelism: *parallelism,
        fragment: Fragment {
            mode: RuntimeMode::Batch,
            plan: Bytes::new(),
            display: String::new(),
            partitions: *parallelism,
        },
        sources: Vec::new(),
        output: if position == last { VertexOutput::Sink(Box::new(sink())) } else { VertexOutput::Edges },
        deterministic: true,
        estimated_bytes: None,
    });
    let edges = edges.iter().enumerate().map(|(position, (source, target, kind))| JobEdge {
        id: EdgeId(position as u32),
        source: VertexId(*source),
        target: VertexId(*target),
        partitioning: Partitioning::Hash { expressions: Vec::new(), display: String::new() },
        kind: *kind,
    });
    JobGraph {
        job: JobId(job),
        name: "job".to_owned(),
        build_id: BUILD_ID.to_owned(),
        mode: RuntimeMode::Batch,
        vertices: vertices.collect(),
        edges: edges.collect(),
        options: options.iter().copied().collect::<Options>(),
        statement: "INSERT INTO t SELECT 1".to_owned(),
        result_columns: None,
    }
}

/// A job whose last vertex sends its rows to the client.
pub(crate) fn query(job: u128) -> JobGraph {
    let mut graph = graph(job, &[1], &[], &[]);
    graph.vertices[0].output = VertexOutput::Result;
    graph.result_columns =
        Some(vec![Column { name: "n".to_owned(), data_type: "BIGINT".to_owned(), nullable: true }]);
    graph
}

/// Gives a vertex a scan whose partitions lie on these hosts.
pub(crate) fn with_splits(mut graph: JobGraph, vertex: usize, hosts: &[&str]) -> JobGraph {
    let split = |host: &&str| Split {
        display: format!("file on {host}"),
        descriptor: Bytes::new(),
        size_bytes: 1,
        hosts: vec![(*host).to_owned()],
    };
    let partitions = hosts.iter().map(|host| vec![split(host)]).collect();
    graph.vertices[vertex].sources.push(SourceSplits { scan: 0, table: "t".to_owned(), partitions });
    graph
}

/// A table that rows go to.
pub(crate) fn sink() -> SinkDescriptor {
    let path = TablePath { catalog: "c".to_owned(), database: "d".to_owned(), table: "t".to_owned() };
    SinkDescriptor {
        table: TableDescriptor {
            path,
            columns: Vec::new(),
            metadata: Vec::new(),
            partition_keys: Vec::new(),
            primary_key: Vec::new(),
            options: Default::default(),
        },
        overwrite: false,
        static_partition: Default::default(),
    }
}

/// A worker of this name, on a host of this name.
pub(crate) fn registration(name: &str, slots: u32) -> Registration {
    Registration {
        worker: WorkerId(name.to_owned()),
        host: name.to_owned(),
        data_address: format!("{name}:1"),
        slots,
        memory_bytes: 1 << 30,
        build_id: BUILD_ID.to_owned(),
        pid: 1,
        running: Vec::new(),
        ended: Vec::new(),
        partitions: Vec::new(),
    }
}

/// A job that has ended, of which everything is known.
pub(crate) fn ended_job(number: u128) -> EndedJob {
    let mut tasks = TaskCounts::default();
    tasks.add(TaskState::Failed);
    let at = |ms| Timestamp(1_700_000_000_000 + number as u64 * 1000 + ms);
    let failure = Failure::new(FailureKind::Io, "the disk is away");
    EndedJob {
        details: JobDetails {
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
        },
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
