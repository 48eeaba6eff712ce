//! What can be read about jobs and workers: plain data, made by the dispatcher, shown by REST and the command line.

use std::{collections::BTreeMap, ops::Index, sync::Arc};

use serde::{Deserialize, Serialize};
use thalweg_graph::{
    Attempt, CheckpointId, Failure, JobId, JobStatus, Options, RuntimeMode, SubtaskId, TaskMetrics,
    TaskState, VertexId, WorkerId, checkpoint::SnapshotStatistics, table::Column,
};

use crate::clock::Timestamp;

/// Number of subtasks in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskCounts([u32; TaskState::ALL.len()]);

impl TaskCounts {
    /// Counts one more in `state`.
    pub fn add(&mut self, state: TaskState) {
        self.0[state as usize] += 1;
    }

    /// Moves one from a state to another.
    pub fn change(&mut self, from: TaskState, to: TaskState) {
        self.0[from as usize] -= 1;
        self.0[to as usize] += 1;
    }

    /// Adds other counts to these.
    pub fn merge(&mut self, other: &TaskCounts) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }

    /// All of them.
    pub fn total(&self) -> u32 {
        self.0.iter().sum()
    }
}

impl Index<TaskState> for TaskCounts {
    type Output = u32;

    fn index(&self, state: TaskState) -> &u32 {
        &self.0[state as usize]
    }
}

/// A job in a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSummary {
    /// Its id.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: JobStatus,
    /// When it was accepted.
    pub submitted: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When its status changed last.
    pub changed: Timestamp,
    /// Its subtasks by state.
    pub tasks: TaskCounts,
}

/// All about a job except its subtasks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobDetails {
    /// The line.
    pub summary: JobSummary,
    /// Batch or streaming; `None` until it is planned.
    pub mode: Option<RuntimeMode>,
    /// The statement it comes from.
    pub statement: String,
    /// When it entered each status last.
    pub status_times: BTreeMap<JobStatus, Timestamp>,
    /// Its vertices, producers first.
    pub vertices: Vec<VertexDetails>,
    /// Why it does not run yet: `needs 4 slots, 2 are free on 1 worker`.
    pub waiting: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The newest failures met, also those that were recovered from, oldest first.
    pub failures: Vec<FailureRecord>,
    /// Whether older failures were dropped from `failures`.
    pub failures_truncated: bool,
    /// How often some part of it was restarted.
    pub restarts: u32,
    /// Its largest parallelism.
    pub parallelism: u32,
    /// The plan in Flink's shape; null until it is planned.
    pub plan: Arc<serde_json::Value>,
    /// Its options.
    pub options: Arc<Options>,
    /// Whether it has a result for the client.
    #[serde(default)]
    pub is_query: bool,
    /// Whether its rows are read as they come.
    pub has_live_result: bool,
    /// The columns of its result, for a query.
    pub result_columns: Option<Arc<[Column]>>,
    /// The newest of its checkpoints and savepoints, oldest first.
    pub checkpoints: Vec<CheckpointRecord>,
    /// How many have ended so far.
    pub checkpoint_counts: CheckpointCounts,
    /// What it has gone on from last.
    pub restored: Option<RestoredCheckpoint>,
}

/// A job that has ended, as it is kept for readers.
///
/// Files keep it by these names and those of what is in it: a field that comes later needs a default, and none may change its meaning.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndedJob {
    /// All about it.
    pub details: Arc<JobDetails>,
    /// Its subtasks, in the order of the vertices.
    pub subtasks: Vec<Vec<SubtaskDetails>>,
    /// How the savepoints that were asked for have ended.
    pub savepoints: BTreeMap<String, SavepointStatus>,
}

impl EndedJob {
    /// Its id.
    pub fn job(&self) -> JobId {
        self.details.summary.job
    }

    /// One vertex with its subtasks.
    pub fn vertex(&self, vertex: VertexId) -> Option<(VertexDetails, Vec<SubtaskDetails>)> {
        let details = self.details.vertices.get(vertex.index()).cloned();
        details.zip(self.subtasks.get(vertex.index()).cloned())
    }

    /// How far event time came.
    pub fn event_time(&self) -> Vec<VertexEventTime> {
        let vertices = self.details.vertices.iter().map(|vertex| VertexEventTime {
            vertex: vertex.id,
            name: vertex.name.clone(),
            watermark_ms: vertex.metrics.watermark_ms,
            held_by: None,
        });
        vertices.collect()
    }

    /// How far it came.
    pub fn progress(&self) -> JobProgress {
        let details = &self.details;
        let vertices = details.vertices.iter().map(|vertex| VertexProgress {
            name: vertex.name.clone(),
            parallelism: vertex.parallelism,
            running: vertex.tasks[TaskState::Running],
            finished: vertex.tasks[TaskState::Finished],
            metrics: vertex.metrics,
        });
        JobProgress {
            job: details.summary.job,
            status: details.summary.status,
            waiting: None,
            failure: details.failure.clone(),
            restarts: details.restarts,
            has_live_result: details.has_live_result,
            vertices: vertices.collect(),
        }
    }
}

/// One vertex.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VertexDetails {
    /// Its position.
    pub id: VertexId,
    /// Its name.
    pub name: String,
    /// How many subtasks it has.
    pub parallelism: u32,
    /// Them by state.
    pub tasks: TaskCounts,
    /// When the first of its current attempts was deployed.
    pub started: Option<Timestamp>,
    /// When the last one ended, if all have.
    pub ended: Option<Timestamp>,
    /// The sum of their counters.
    pub metrics: TaskMetrics,
}

impl VertexDetails {
    /// One state for all its subtasks, as Flink shows it.
    pub fn state(&self) -> TaskState {
        use TaskState::*;
        if self.tasks[Finished] == self.parallelism {
            return Finished;
        }
        let first = [Failed, Canceling, Canceled, Running, Initializing, Deploying, Scheduled, Finished];
        match first.into_iter().find(|state| self.tasks[*state] > 0) {
            // Some have finished, the others wait for their turn.
            Some(Finished) => Running,
            Some(state) => state,
            None => Created,
        }
    }
}

/// One subtask's current attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubtaskDetails {
    /// Its index.
    pub index: u32,
    /// The attempt's number.
    pub attempt: u32,
    /// Where the attempt stands.
    pub state: TaskState,
    /// The worker that runs or ran it.
    pub worker: Option<WorkerId>,
    /// That worker's data port, `host:port`.
    pub endpoint: Option<String>,
    /// When it was deployed.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Its counters.
    pub metrics: TaskMetrics,
    /// What it does in a second.
    pub rates: TaskRates,
}

/// What a task does in a second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskRates {
    /// Rows read.
    pub records_in: f64,
    /// Rows written.
    pub records_out: f64,
    /// Bytes read.
    pub bytes_in: f64,
    /// Bytes written.
    pub bytes_out: f64,
    /// Milliseconds of computing.
    pub busy_ms: f64,
    /// Milliseconds of waiting for rows.
    pub idle_ms: f64,
    /// Milliseconds of waiting for consumers.
    pub backpressured_ms: f64,
}

/// How far event time has come in a vertex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexEventTime {
    /// The vertex's position.
    pub vertex: VertexId,
    /// Its name.
    pub name: String,
    /// What its slowest subtask puts out, in milliseconds; `None` while that says nothing.
    #[serde(rename = "watermark")]
    pub watermark_ms: Option<i64>,
    /// What it waits for; `None` where nobody is waited for any more.
    #[serde(rename = "held-by")]
    pub held_by: Option<HeldBack>,
}

/// What holds event time back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// The source.
    pub vertex: VertexId,
    /// Its name.
    pub name: String,
    /// Its subtask.
    pub subtask: u32,
    /// The split that the subtask waits for, if it has one.
    pub split: Option<String>,
    /// How far event time has come there, in milliseconds; `None` while no row has told.
    #[serde(rename = "watermark")]
    pub watermark_ms: Option<i64>,
}

/// A failure that was met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// When.
    pub at: Timestamp,
    /// What.
    pub failure: Failure,
    /// The name of the task that met it.
    pub task: Option<String>,
}

impl FailureRecord {
    /// The attempt that met it, if it was a task.
    pub fn attempt(&self) -> Option<Attempt> {
        self.failure.attempt
    }
}

/// How far a job is, for those who watch it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Its id.
    pub job: JobId,
    /// Where it stands.
    pub status: JobStatus,
    /// Why it does not run yet.
    pub waiting: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// How often some part of it was restarted.
    pub restarts: u32,
    /// Whether its rows are to be read as they come, not when it has ended.
    #[serde(default)]
    pub has_live_result: bool,
    /// Its vertices, producers first.
    pub vertices: Vec<VertexProgress>,
}

/// How far a vertex is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VertexProgress {
    /// Its name.
    pub name: String,
    /// Number of subtasks.
    pub parallelism: u32,
    /// Number of those that run.
    pub running: u32,
    /// Number of those that have finished.
    pub finished: u32,
    /// The sum of their counters.
    pub metrics: TaskMetrics,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobEnd {
    /// `Finished`, `Failed` or `Canceled`.
    pub status: JobStatus,
    /// Why, if it failed.
    pub failure: Option<Failure>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerDetails {
    /// Its id.
    pub worker: WorkerId,
    /// Its host.
    pub host: String,
    /// Its data port, `host:port`.
    pub data_address: String,
    /// Its process id.
    pub pid: u32,
    /// Its slots.
    pub slots: u32,
    /// Those that no job has.
    pub free_slots: u32,
    /// Its memory budget.
    pub memory_bytes: u64,
    /// What it uses of that.
    pub memory_used_bytes: u64,
    /// When it was heard last.
    pub last_heard: Timestamp,
    /// The jobs that have slots on it, one entry a slot.
    pub allocated: Vec<JobId>,
}

/// The cluster in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overview {
    /// Registered workers.
    pub workers: u32,
    /// Their slots.
    pub slots_total: u32,
    /// Those that no job has.
    pub slots_free: u32,
    /// Jobs that have not ended.
    pub jobs_running: u32,
    /// Jobs that ended well.
    pub jobs_finished: u32,
    /// Jobs that were cancelled.
    pub jobs_canceled: u32,
    /// Jobs that failed.
    pub jobs_failed: u32,
}

/// A checkpoint or savepoint of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// Its number.
    pub checkpoint: CheckpointId,
    /// What has become of it.
    pub status: CheckpointStatus,
    /// Whether it belongs to the user.
    pub savepoint: bool,
    /// Its folder, as a URL.
    pub path: String,
    /// When it was begun.
    pub triggered: Timestamp,
    /// When it was complete or given up.
    pub ended: Option<Timestamp>,
    /// Bytes of the state that it keeps.
    pub state_bytes: u64,
    /// Those of them that were stored for it.
    pub stored_bytes: u64,
    /// The longest wait of a subtask for its last barrier.
    pub alignment_ms_max: u64,
    /// The longest time that a subtask stood still.
    pub sync_ms_max: u64,
    /// The longest time that storing a subtask's part took.
    pub async_ms_max: u64,
    /// How many subtasks take part.
    pub subtasks: u32,
    /// How many have answered.
    pub acknowledged: u32,
    /// How it went for each of those.
    pub parts: Arc<[(SubtaskId, SnapshotStatistics)]>,
}

/// What a job has gone on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredCheckpoint {
    /// Its folder, as a URL.
    pub path: String,
    /// Its number, where that is known: of a savepoint of another job it is not.
    pub checkpoint: Option<CheckpointId>,
    /// Whether it belongs to the user, where that is known.
    pub savepoint: Option<bool>,
    /// When the job went on from it.
    pub at: Timestamp,
}

/// Checkpoints and savepoints of a job that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CheckpointCounts {
    /// Those that are complete.
    pub completed: u64,
    /// Those that were given up.
    pub failed: u64,
    /// How often the job has gone on from one.
    pub restored: u64,
}

/// What has become of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointStatus {
    /// It is under way.
    InProgress,
    /// It is complete, and its output is visible.
    Completed,
    /// It was given up: why.
    Failed(String),
}

/// How a savepoint that was asked for stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavepointStatus {
    /// It is under way, or waits for its turn.
    InProgress,
    /// It is complete: its folder, as a URL.
    Completed(String),
    /// It came to nothing: why.
    Failed(String),
}
