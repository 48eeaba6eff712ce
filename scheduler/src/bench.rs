//! The control plane alone: jobs of many tasks on workers inside this process that do nothing.

pub mod scale;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use thalweg_graph::{
    BUILD_ID, EdgeId, Failure, Fragment, JobEdge, JobGraph, JobId, JobStatus, JobVertex, Options,
    RuntimeMode, SqlError, TaskMetrics, VertexId, VertexOutput, WorkerId,
    checkpoint::Manifest,
    exchange::{ExchangeKind, Partitioning},
    sql_error::SqlErrorCode,
    table::{Committable, SinkDescriptor},
};
use thalweg_rpc::{Registration, Session, TaskUpdate, ToLeader, ToWorker};
use tokio::sync::mpsc;

use crate::{CheckpointStorage, Committer, JobManager, JobManagerConfig, Planner, Script};

/// Vertices of the job.
const VERTICES: u32 = 4;
/// Workers.
const WORKERS: u32 = 8;

/// What scheduling one job took.
#[derive(Debug, Clone, Copy)]
pub struct Measurement {
    /// Its tasks.
    pub tasks: u32,
    /// How its vertices exchange data.
    pub kind: ExchangeKind,
    /// From the submission to the end.
    pub elapsed: Duration,
}

impl Measurement {
    /// Time for each task.
    pub fn per_task(&self) -> Duration {
        self.elapsed / self.tasks.max(1)
    }
}

/// A measurement that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The JobManager did not start.
    #[error(transparent)]
    Start(#[from] crate::job_manager::Error),
    /// It refused the job.
    #[error(transparent)]
    Refused(#[from] crate::dispatcher::Error),
    /// The job did not finish.
    #[error("the job ended as {0}")]
    Ended(JobStatus),
}

/// Runs a job of about this many tasks, in four vertices that are connected all to all, on workers with as many slots as it needs.
pub async fn measure(tasks: u32, kind: ExchangeKind) -> Result<Measurement, Error> {
    let parallelism = (tasks / VERTICES).max(1);
    let config = JobManagerConfig::default();
    let manager =
        JobManager::start(config, Arc::new(NoPlanner), Arc::new(NoCommitter), Arc::new(NoStorage)).await?;
    let dispatcher = manager.dispatcher();
    for number in 0..WORKERS {
        let (worker, leader) = Session::<ToLeader, ToWorker>::pair();
        manager.attach_worker(leader);
        let slots = parallelism.div_ceil(WORKERS);
        tokio::spawn(do_nothing(worker, registration(number, slots)));
    }
    let graph = graph(parallelism, kind);
    let tasks = graph.task_count() as u32;
    let started = Instant::now();
    let job = dispatcher.submit(graph).await?;
    let end = dispatcher.wait(job).await?;
    let elapsed = started.elapsed();
    manager.stop().await;
    match end.status {
        JobStatus::Finished => Ok(Measurement { tasks, kind, elapsed }),
        status => Err(Error::Ended(status)),
    }
}

fn registration(number: u32, slots: u32) -> Registration {
    let host = format!("host-{number}");
    Registration {
        worker: WorkerId(format!("worker-{number}")),
        data_address: format!("{host}:1"),
        host,
        slots,
        memory_bytes: 1 << 30,
        build_id: BUILD_ID.to_owned(),
        pid: 0,
        running: Vec::new(),
        ended: Vec::new(),
        partitions: Vec::new(),
    }
}

fn graph(parallelism: u32, kind: ExchangeKind) -> JobGraph {
    let vertex = |position: u32| JobVertex {
        id: VertexId(position),
        name: format!("vertex {position}"),
        parallelism,
        fragment: Fragment {
            mode: RuntimeMode::Batch,
            plan: Default::default(),
            display: String::new(),
            partitions: parallelism,
        },
        sources: Vec::new(),
        output: VertexOutput::Edges,
        deterministic: true,
        estimated_bytes: None,
    };
    let edge = |position: u32| JobEdge {
        id: EdgeId(position),
        source: VertexId(position),
        target: VertexId(position + 1),
        partitioning: Partitioning::Hash { expressions: Vec::new(), display: "key".to_owned() },
        kind,
    };
    JobGraph {
        job: JobId(1),
        name: "bench".to_owned(),
        build_id: BUILD_ID.to_owned(),
        mode: RuntimeMode::Batch,
        vertices: (0..VERTICES).map(vertex).collect(),
        edges: (0..VERTICES - 1).map(edge).collect(),
        options: Options::default(),
        statement: String::new(),
        result_columns: None,
    }
}

/// A worker whose tasks finish at once.
async fn do_nothing(session: Session<ToLeader, ToWorker>, registration: Registration) {
    let Session { sender, mut receiver } = session;
    if sender.send(ToLeader::Register(registration)).await.is_err() {
        return;
    }
    while let Some(message) = receiver.recv().await {
        if answer(&sender, message).await.is_err() {
            return;
        }
    }
}

async fn answer(
    sender: &mpsc::Sender<ToLeader>,
    message: ToWorker,
) -> Result<(), mpsc::error::SendError<ToLeader>> {
    match message {
        ToWorker::Deploy { tasks, .. } => {
            for task in tasks {
                let attempt = task.attempt;
                sender.send(ToLeader::Task { attempt, update: TaskUpdate::Running }).await?;
                let (metrics, committables) = (TaskMetrics::default(), Vec::new());
                let update = TaskUpdate::Finished { metrics, committables, last: None };
                sender.send(ToLeader::Task { attempt, update }).await?;
            }
            Ok(())
        }
        ToWorker::Cancel { attempt, .. } => {
            sender.send(ToLeader::Task { attempt, update: TaskUpdate::Canceled }).await
        }
        ToWorker::Heartbeat => {
            sender.send(ToLeader::Heartbeat { tasks: Vec::new(), memory_used_bytes: 0 }).await
        }
        _ => Ok(()),
    }
}

struct NoPlanner;

impl Planner for NoPlanner {
    fn open(&self, _: &str, _: &Options, _: u32) -> Result<Box<dyn Script>, SqlError> {
        Err(SqlError::new(SqlErrorCode::Unsupported, "this JobManager takes job graphs only"))
    }
}

struct NoCommitter;

#[async_trait]
impl Committer for NoCommitter {
    async fn commit(&self, _: JobId, _: &SinkDescriptor, _: &[Committable]) -> Result<(), Failure> {
        Ok(())
    }

    async fn commit_checkpoint(
        &self,
        _: JobId,
        _: &SinkDescriptor,
        _: &[Committable],
    ) -> Result<(), Failure> {
        Ok(())
    }

    async fn abort(&self, _: JobId, _: &SinkDescriptor) -> Result<(), Failure> {
        Ok(())
    }
}

struct NoStorage;

#[async_trait]
impl CheckpointStorage for NoStorage {
    fn check(&self, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn write(&self, _: &str, _: &Manifest) -> Result<(), Failure> {
        Ok(())
    }

    async fn read(&self, url: &str) -> Result<Manifest, Failure> {
        Err(Failure::new(thalweg_graph::FailureKind::Io, format!("`{url}` was not kept")))
    }

    async fn remove(&self, _: &str, _: &[String]) -> Result<(), Failure> {
        Ok(())
    }

    async fn dispose(&self, url: &str) -> Result<(), Failure> {
        Err(Failure::new(thalweg_graph::FailureKind::Io, format!("`{url}` was not kept")))
    }

    async fn remove_folder(&self, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}
