//! What JobManager and worker say to each other.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_graph::{
    Attempt, CheckpointId, Failure, JobEpoch, JobId, TaskDescriptor, TaskMetrics, TaskReport, TaskState,
    Term, WorkerId,
    checkpoint::{Barrier, SubtaskSnapshot},
    exchange::ResultPartitionId,
    table::Committable,
};

/// A worker says who it is: the first message of a session. After a lost connection it registers again with what it still runs
/// and holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// Its name for life.
    pub worker: WorkerId,
    /// Its host, as block locations name it.
    pub host: String,
    /// Where other workers reach its data port: `host:port`.
    pub data_address: String,
    /// How many slots it offers.
    pub slots: u32,
    /// Its memory budget.
    pub memory_bytes: u64,
    /// Its build (see [`thalweg_graph::BUILD_ID`]).
    pub build_id: String,
    /// Its process id, for people.
    pub pid: u32,
    /// Tasks that it runs.
    pub running: Vec<RunningTask>,
    /// Tasks that have ended here, of jobs that are not forgotten, with how.
    pub ended: Vec<(Attempt, TaskUpdate)>,
    /// Finished blocking partitions that it holds.
    pub partitions: Vec<ResultPartitionId>,
}

/// A task that a worker runs while it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTask {
    /// Which attempt.
    pub attempt: Attempt,
    /// The epoch it was deployed with.
    pub epoch: JobEpoch,
    /// Its state.
    pub state: TaskState,
    /// The slot it was given.
    pub slot: u64,
    /// The newest checkpoint whose barrier it has met.
    pub barrier: Option<CheckpointId>,
}

/// From a worker to the leading JobManager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToLeader {
    /// First message of a session.
    Register(Registration),
    /// Sign of life, with what every running task says of itself.
    Heartbeat {
        /// What they say.
        tasks: Vec<TaskReport>,
        /// Bytes of the memory pool in use.
        memory_used_bytes: u64,
    },
    /// A task changed.
    Task {
        /// Which attempt.
        attempt: Attempt,
        /// How.
        update: TaskUpdate,
    },
    /// What a task has kept at a barrier is stored, or could not be.
    Snapshot {
        /// Which attempt.
        attempt: Attempt,
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// What was kept.
        snapshot: Result<Box<SubtaskSnapshot>, Failure>,
    },
    /// A source that keeps pace with others says how far it has come; answered by [`ToWorker::AlignSource`].
    SourceTime {
        /// Which attempt.
        attempt: Attempt,
        /// The group of its table.
        group: String,
        /// How far event time has come, in milliseconds; `None` where nobody is to wait for it.
        watermark_ms: Option<i64>,
        /// How far it may be ahead of the slowest of the group.
        max_drift_ms: i64,
    },
    /// The next bytes of the Arrow IPC stream that a task with [`thalweg_graph::VertexOutput::Result`] makes. Complete when the
    /// task's `Finished` follows.
    ResultChunk {
        /// Which attempt.
        attempt: Attempt,
        /// At most 256 KiB; of a live result what there was when its buffer was full or its time was over.
        bytes: Bytes,
    },
    /// The worker stops by itself; its tasks are over.
    Goodbye {
        /// Why.
        reason: String,
    },
}

/// How a task changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TaskUpdate {
    /// Its operators stand and it reads.
    Running,
    /// It ended well.
    Finished {
        /// Final counters.
        metrics: TaskMetrics,
        /// What its sink wants made visible: one for each partition that wrote something.
        committables: Vec<Committable>,
        /// Of a stream: where its source ended, for checkpoints that others still take part in.
        last: Option<Box<SubtaskSnapshot>>,
    },
    /// It failed; whatever its sink had staged is gone or will be by the abort of the job.
    Failed {
        /// Why.
        failure: Failure,
        /// Final counters.
        metrics: TaskMetrics,
    },
    /// It was cancelled as asked.
    Canceled,
}

/// Chunks of a live result that a worker may send before it hears that any was taken: what waits at the JobManager is bounded.
pub const LIVE_CHUNKS_MAX: usize = 16;

/// From the leading JobManager to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ToWorker {
    /// The registration was taken.
    Welcome {
        /// The leader's term; orders of a lower one are to be refused.
        term: Term,
        /// How often the worker is to give a sign of life.
        heartbeat_interval: Duration,
        /// Silence after which each side gives the other up.
        heartbeat_timeout: Duration,
        /// Where the JobManagers of the quorum are, `host:port` each; none where there is only this one.
        job_managers: Vec<String>,
    },
    /// The quorum has other JobManagers than before.
    JobManagers {
        /// Where they are, `host:port` each.
        addresses: Vec<String>,
    },
    /// The registration was refused; the worker stops with this text.
    Refused {
        /// Why.
        reason: String,
    },
    /// Sign of life.
    Heartbeat,
    /// Start these tasks.
    Deploy {
        /// The leader's term.
        term: Term,
        /// The tasks.
        tasks: Vec<Arc<TaskDescriptor>>,
    },
    /// Stop a task; answered by `Canceled`, `Finished` or `Failed`, whichever came first. Unknown attempts are answered by `Canceled`.
    Cancel {
        /// The leader's term.
        term: Term,
        /// Which attempt.
        attempt: Attempt,
    },
    /// Let a barrier pass from these sources.
    Checkpoint {
        /// The leader's term.
        term: Term,
        /// The sources' tasks.
        attempts: Vec<Attempt>,
        /// The barrier.
        barrier: Barrier,
    },
    /// A source that keeps pace with others may go so far.
    AlignSource {
        /// Which attempt.
        attempt: Attempt,
        /// In milliseconds of event time.
        allowed_ms: i64,
    },
    /// The reader of a live result has taken chunks: as many more may be sent.
    ResultTaken {
        /// Which attempt sends it.
        attempt: Attempt,
        /// How many.
        chunks: u32,
    },
    /// A checkpoint is complete: what comes before it will never be asked for again, and what sinks had prepared is visible.
    CheckpointCompleted {
        /// The leader's term.
        term: Term,
        /// The tasks that are to know: those of sinks, and of sources unless it is a savepoint.
        attempts: Vec<Attempt>,
        /// Which.
        checkpoint: CheckpointId,
    },
    /// These partitions are not needed any more.
    ReleasePartitions {
        /// The leader's term.
        term: Term,
        /// Which.
        partitions: Vec<ResultPartitionId>,
    },
    /// The job ended: cancel what still runs of it, drop all that is kept of it.
    ForgetJob {
        /// The leader's term.
        term: Term,
        /// Which.
        job: JobId,
    },
    /// Stop the worker process in an orderly way.
    Stop {
        /// Why.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use thalweg_graph::{
        EdgeId, FailureKind, Fragment, Options, RuntimeMode, SubtaskId, VertexId, VertexOutput,
        exchange::{ExchangeKind, Partitioning, ResultPartitionDescriptor},
        table::{SinkDescriptor, TableDescriptor, TablePath},
        task::CheckpointFolder,
    };

    use super::*;

    fn attempt() -> Attempt {
        Attempt { job: JobId(7), subtask: SubtaskId { vertex: VertexId(1), index: 2 }, number: 3 }
    }

    fn task(output: VertexOutput, partitioning: Partitioning) -> Arc<TaskDescriptor> {
        let id = ResultPartitionId { producer: attempt(), edge: EdgeId(4) };
        Arc::new(TaskDescriptor {
            attempt: attempt(),
            epoch: JobEpoch(1),
            slot: 5,
            name: "Filter".to_owned(),
            build_id: "build".to_owned(),
            parallelism: 4,
            fragment: Arc::new(Fragment {
                mode: RuntimeMode::Batch,
                plan: Bytes::from_static(b"plan"),
                display: "Filter".to_owned(),
                partitions: 4,
            }),
            splits: Vec::new(),
            inputs: Vec::new(),
            outputs: vec![ResultPartitionDescriptor {
                id,
                partitioning,
                kind: ExchangeKind::Blocking,
                subpartitions: 4,
            }],
            output: Arc::new(output),
            spills_joins: false,
            options: Arc::new([("a", "b")].into_iter().collect::<Options>()),
            checkpoints: Some(CheckpointFolder { folder: "file:///c".to_owned(), restored: None }),
        })
    }

    /// The encoding does not describe itself: a type whose decoding must look ahead would only fail on the other side.
    #[test]
    fn every_shape_of_a_task_and_a_failure_survives_the_encoding() {
        let path = TablePath { catalog: "c".to_owned(), database: "d".to_owned(), table: "t".to_owned() };
        let sink = SinkDescriptor {
            table: TableDescriptor {
                path,
                columns: Vec::new(),
                metadata: Vec::new(),
                partition_keys: Vec::new(),
                primary_key: Vec::new(),
                options: Default::default(),
            },
            overwrite: true,
            static_partition: Default::default(),
        };
        let hash =
            Partitioning::Hash { expressions: vec![Bytes::from_static(b"a@0")], display: "a@0".to_owned() };
        let tasks = vec![
            task(VertexOutput::Sink(Box::new(sink)), hash),
            task(VertexOutput::Result, Partitioning::Broadcast),
            task(VertexOutput::Edges, Partitioning::RoundRobin),
        ];
        let deploy = ToWorker::Deploy { term: Term(1), tasks };
        assert_eq!(postcard::from_bytes::<ToWorker>(&postcard::to_stdvec(&deploy).unwrap()).unwrap(), deploy);

        for kind in [FailureKind::Io, FailureKind::FetchFailed { edge: EdgeId(1), producer: attempt() }] {
            let failure = Failure::new(kind, "why").of(attempt(), WorkerId("w".to_owned()));
            let update = TaskUpdate::Failed { failure, metrics: TaskMetrics::default() };
            let failed = ToLeader::Task { attempt: attempt(), update };
            assert_eq!(
                postcard::from_bytes::<ToLeader>(&postcard::to_stdvec(&failed).unwrap()).unwrap(),
                failed
            );
        }
    }
}
