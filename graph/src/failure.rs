//! Why a task or a job failed: a stable kind for machines, a text for people.

use serde::{Deserialize, Serialize};

use crate::{Attempt, EdgeId, WorkerId};

/// What went wrong, as far as a reaction depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The same input would fail again: a value that cannot be cast, a division by zero, a corrupt file.
    Deterministic,
    /// The fragment could not be decoded or built, or comes from another build.
    PlanRejected,
    /// A file system, network or service did not do what it was asked; another try may succeed.
    Io,
    /// A service stayed silent for as long as it is waited for; the call was repeated all that time.
    Unreachable,
    /// Memory or disk ran out on one worker.
    ResourceExhausted,
    /// Memory ran out on a worker that holds sides of the job's joins: it runs again with joins that spill.
    OutOfMemory,
    /// The task panicked. Twice the same panic counts as deterministic.
    Panic,
    /// A producer's output could not be read; the producer must run again.
    FetchFailed {
        /// The edge it was read over.
        edge: EdgeId,
        /// The attempt whose output is gone.
        producer: Attempt,
    },
    /// The worker stopped answering or said goodbye.
    WorkerLost,
    /// The checkpoint that the job goes on from cannot be read: an older one may do.
    StateLost,
    /// The job did not get the slots that it needs in time.
    NoSlots,
    /// The output could not be made visible.
    CommitFailed,
    /// A bug of ours: a state that was thought impossible.
    Internal,
}

impl FailureKind {
    /// Whether running the same thing again would end the same.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            FailureKind::Deterministic
                | FailureKind::PlanRejected
                | FailureKind::NoSlots
                | FailureKind::Unreachable
        )
    }

    /// A stable word for REST and logs.
    pub fn code(&self) -> &'static str {
        match self {
            FailureKind::Deterministic => "deterministic",
            FailureKind::PlanRejected => "plan-rejected",
            FailureKind::Io => "io",
            FailureKind::Unreachable => "unreachable",
            FailureKind::ResourceExhausted => "resource-exhausted",
            FailureKind::OutOfMemory => "out-of-memory",
            FailureKind::Panic => "panic",
            FailureKind::FetchFailed { .. } => "fetch-failed",
            FailureKind::WorkerLost => "worker-lost",
            FailureKind::StateLost => "state-lost",
            FailureKind::NoSlots => "no-slots",
            FailureKind::CommitFailed => "commit-failed",
            FailureKind::Internal => "internal",
        }
    }
}

/// One failure, with where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind it is.
    pub kind: FailureKind,
    /// What was asked, what was found, what to do: one paragraph.
    pub message: String,
    /// The attempt that met it, if it was a task.
    pub attempt: Option<Attempt>,
    /// The worker it happened on.
    pub worker: Option<WorkerId>,
}

impl Failure {
    /// A failure that does not belong to a task.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), attempt: None, worker: None }
    }

    /// The same failure, attributed to an attempt on a worker.
    pub fn of(mut self, attempt: Attempt, worker: WorkerId) -> Self {
        self.attempt = Some(attempt);
        self.worker = Some(worker);
        self
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
