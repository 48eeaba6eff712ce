//! A task as a worker receives it, and what it reports.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Attempt, Fragment, JobEpoch, Options, VertexOutput,
    exchange::{InputGate, ResultPartitionDescriptor},
    source::Split,
};

/// One attempt of one subtask, with all that it needs to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDescriptor {
    /// Which attempt.
    pub attempt: Attempt,
    /// The job's epoch, for fencing.
    pub epoch: JobEpoch,
    /// The slot that it was given, as its leader numbers them.
    pub slot: u64,
    /// The vertex's name, for logs and panics.
    pub name: String,
    /// The build that made the fragment.
    pub build_id: String,
    /// Number of subtasks of the vertex; this one runs partitions `index, index + parallelism, ...`.
    pub parallelism: u32,
    /// What to run.
    pub fragment: Arc<Fragment>,
    /// The splits to read, for each file scan of the fragment.
    pub splits: Vec<TaskSplits>,
    /// What to read from other tasks.
    pub inputs: Vec<InputGate>,
    /// What to write for other tasks.
    pub outputs: Vec<ResultPartitionDescriptor>,
    /// Where rows leave the job.
    pub output: Arc<VertexOutput>,
    /// Whether joins are to hold no side in memory, since that has run out before.
    pub spills_joins: bool,
    /// The job's options.
    pub options: Arc<Options>,
    /// Of a stream: where its state is kept.
    pub checkpoints: Option<CheckpointFolder>,
}

/// Where the state of a stream's job is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointFolder {
    /// The folder of the job's checkpoints, as a URL.
    pub folder: String,
    /// The manifest of the checkpoint from which the job goes on, as a URL; `None` where it begins.
    pub restored: Option<String>,
}

/// One task's share of one file scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSplits {
    /// Which scan (see [`crate::source::SourceSplits::scan`]).
    pub scan: u32,
    /// Partition of the scan and its splits; partitions that the task does not run are absent.
    pub partitions: Vec<(u32, Vec<Split>)>,
}

/// What a task has done so far. Counters only grow within an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskMetrics {
    /// Rows read from other tasks, or by the fragment's scans where it has no inputs.
    pub records_in: u64,
    /// Rows that the scans left out because they could not be read.
    pub records_skipped: u64,
    /// Rows written to other tasks, sinks or the client.
    pub records_out: u64,
    /// Bytes read from other tasks, or of the splits.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Bytes that operators wrote to disk for lack of memory.
    pub bytes_spilled: u64,
    /// Time spent computing, in milliseconds, of all that runs side by side.
    pub busy_ms: u64,
    /// Time spent waiting for consumers, in milliseconds.
    pub backpressured_ms: u64,
    /// Time spent waiting for rows, in milliseconds.
    pub idle_ms: u64,
    /// Rows that came when the windows they belong to were complete, and were left out.
    pub records_late: u64,
    /// Rows of a source whose event time was too far ahead of the clock to count.
    pub records_ahead: u64,
    /// How far event time has come in what it reads, in milliseconds; of a source unknown.
    pub input_watermark_ms: Option<i64>,
    /// How far it has come in what it puts out.
    pub watermark_ms: Option<i64>,
    /// Whether nothing is said about event time for the time being.
    pub is_idle: bool,
}

/// What one running task says of itself, now and then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Which attempt.
    pub attempt: Attempt,
    /// What it has done.
    pub metrics: TaskMetrics,
    /// Of a source: how far event time has come in its splits, those that are furthest behind first; not more than
    /// [`SPLITS_REPORTED_MAX`].
    pub splits: Vec<SplitProgress>,
}

/// Splits of a task whose progress is told: enough to find what holds event time back.
pub const SPLITS_REPORTED_MAX: usize = 8;

/// How far event time has come in a split of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitProgress {
    /// The split's name.
    pub split: String,
    /// In milliseconds; `None` while no row has told.
    pub watermark_ms: Option<i64>,
    /// Whether nobody waits for it, since nothing came for a while.
    pub is_idle: bool,
}

impl TaskMetrics {
    /// Adds another task's counters to these. Event time is that of the slower one, as far as both tell.
    pub fn add(&mut self, other: &TaskMetrics) {
        self.records_in += other.records_in;
        self.records_skipped += other.records_skipped;
        self.records_out += other.records_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.bytes_spilled += other.bytes_spilled;
        self.busy_ms += other.busy_ms;
        self.backpressured_ms += other.backpressured_ms;
        self.idle_ms += other.idle_ms;
        self.records_late += other.records_late;
        self.records_ahead += other.records_ahead;
        let slower = |one: Option<i64>, two: Option<i64>| one.into_iter().chain(two).min();
        self.input_watermark_ms = slower(self.input_watermark_ms, other.input_watermark_ms);
        self.watermark_ms = slower(self.watermark_ms, other.watermark_ms);
    }
}
