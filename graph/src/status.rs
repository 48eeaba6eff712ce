//! The states of jobs and tasks, in Flink's words.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a job stands. The names are Flink's `JobStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobStatus {
    /// Accepted; its plan is being made or it waits for an earlier statement of its script.
    Initializing,
    /// Planned; waits for slots.
    Created,
    /// At least one task was deployed.
    Running,
    /// A failure was met that ends the job; its tasks are being cancelled and its output withdrawn.
    Failing,
    /// Ended by a failure. Final.
    Failed,
    /// Asked to cancel; its tasks are being cancelled and its output withdrawn.
    Cancelling,
    /// Ended by request. Final.
    Canceled,
    /// Ended with its output committed. Final.
    Finished,
    /// Waits for the restart strategy's delay.
    Restarting,
    /// Given up by this JobManager without an end.
    Suspended,
    /// Being taken over after a leader change.
    Reconciling,
}

impl JobStatus {
    /// Every status, in Flink's order.
    pub const ALL: [JobStatus; 11] = [
        JobStatus::Initializing,
        JobStatus::Created,
        JobStatus::Running,
        JobStatus::Failing,
        JobStatus::Failed,
        JobStatus::Cancelling,
        JobStatus::Canceled,
        JobStatus::Finished,
        JobStatus::Restarting,
        JobStatus::Suspended,
        JobStatus::Reconciling,
    ];

    /// Whether the job will never change again.
    pub fn is_terminal(self) -> bool {
        matches!(self, JobStatus::Failed | JobStatus::Canceled | JobStatus::Finished)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JobStatus::Initializing => "INITIALIZING",
            JobStatus::Created => "CREATED",
            JobStatus::Running => "RUNNING",
            JobStatus::Failing => "FAILING",
            JobStatus::Failed => "FAILED",
            JobStatus::Cancelling => "CANCELLING",
            JobStatus::Canceled => "CANCELED",
            JobStatus::Finished => "FINISHED",
            JobStatus::Restarting => "RESTARTING",
            JobStatus::Suspended => "SUSPENDED",
            JobStatus::Reconciling => "RECONCILING",
        })
    }
}

/// Where one attempt of a subtask stands. The names are Flink's `ExecutionState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskState {
    /// Waits for its inputs.
    Created,
    /// Its inputs are there; waits for a slot.
    Scheduled,
    /// The order is on its way to the worker.
    Deploying,
    /// The worker builds its operators.
    Initializing,
    /// It reads, computes and writes.
    Running,
    /// It ended well and its output is complete.
    Finished,
    /// Asked to cancel.
    Canceling,
    /// Ended by request.
    Canceled,
    /// Ended by a failure.
    Failed,
    /// Being taken over after a leader change.
    Reconciling,
}

impl TaskState {
    /// Every state, in Flink's order.
    pub const ALL: [TaskState; 10] = [
        TaskState::Created,
        TaskState::Scheduled,
        TaskState::Deploying,
        TaskState::Initializing,
        TaskState::Running,
        TaskState::Finished,
        TaskState::Canceling,
        TaskState::Canceled,
        TaskState::Failed,
        TaskState::Reconciling,
    ];

    /// Whether the attempt will never change again.
    pub fn is_terminal(self) -> bool {
        matches!(self, TaskState::Finished | TaskState::Canceled | TaskState::Failed)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TaskState::Created => "CREATED",
            TaskState::Scheduled => "SCHEDULED",
            TaskState::Deploying => "DEPLOYING",
            TaskState::Initializing => "INITIALIZING",
            TaskState::Running => "RUNNING",
            TaskState::Finished => "FINISHED",
            TaskState::Canceling => "CANCELING",
            TaskState::Canceled => "CANCELED",
            TaskState::Failed => "FAILED",
            TaskState::Reconciling => "RECONCILING",
        })
    }
}
