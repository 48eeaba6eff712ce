//! A producer's output that could not be read: the error that makes the job master run the producer again.

use thalweg_graph::{Attempt, FailureKind, exchange::ResultPartitionId};

/// Travels through DataFusion's operators as an external error and is found again at the task's end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read what task `{}` wrote for edge {}: {why}", partition.producer, partition.edge)]
pub struct FetchFailed {
    /// The output.
    pub partition: ResultPartitionId,
    /// What was met.
    pub why: String,
}

impl FetchFailed {
    /// The attempt whose output is gone.
    pub fn producer(&self) -> Attempt {
        self.partition.producer
    }

    /// The same in the words of failures.
    pub fn kind(&self) -> FailureKind {
        FailureKind::FetchFailed { edge: self.partition.edge, producer: self.partition.producer }
    }
}
