//! What the control plane asks of sinks: to make a job's output visible, or to withdraw it.

use async_trait::async_trait;
use thalweg_graph::{
    Failure, JobId,
    table::{Committable, SinkDescriptor},
};

/// Commits and aborts. Both are idempotent: they are tried again after a failure of kind `Io` or
/// `Unreachable` and after a change of leader.
#[async_trait]
pub trait Committer: Send + Sync {
    /// Makes visible what the finished attempts of one sink have staged.
    async fn commit(
        &self,
        job: JobId,
        sink: &SinkDescriptor,
        committables: &[Committable],
    ) -> Result<(), Failure>;

    /// Makes visible what one sink has prepared for a checkpoint. The job goes on: what else it has staged stays.
    async fn commit_checkpoint(
        &self,
        job: JobId,
        sink: &SinkDescriptor,
        committables: &[Committable],
    ) -> Result<(), Failure>;

    /// Removes everything that the job has staged for one sink.
    async fn abort(&self, job: JobId, sink: &SinkDescriptor) -> Result<(), Failure>;
}
