//! Commits and aborts the output of jobs through the connectors, for the control plane, which knows no file systems.

use std::sync::Arc;

use async_trait::async_trait;
use thalweg_connectors::{BuiltinConnectors, commit};
use thalweg_graph::{
    Failure, FailureKind, JobId,
    table::{Committable, SinkDescriptor},
};
use thalweg_scheduler::Committer;

/// Commits tables.
pub struct TableCommitter {
    connectors: Arc<BuiltinConnectors>,
}

impl TableCommitter {
    /// A committer that reaches tables through these connectors.
    pub fn new(connectors: Arc<BuiltinConnectors>) -> Self {
        Self { connectors }
    }
}

#[async_trait]
impl Committer for TableCommitter {
    async fn commit(
        &self,
        job: JobId,
        sink: &SinkDescriptor,
        committables: &[Committable],
    ) -> Result<(), Failure> {
        let outcome = commit::commit(&self.connectors, job, sink, committables)
            .await
            .map_err(|error| failure("cannot make the output visible", sink, &error))?;
        let (files, rows, bytes) = (outcome.files, outcome.rows, outcome.bytes);
        tracing::info!(%job, table = %sink.table.path, files, rows, bytes, "committed");
        Ok(())
    }

    async fn commit_checkpoint(
        &self,
        job: JobId,
        sink: &SinkDescriptor,
        committables: &[Committable],
    ) -> Result<(), Failure> {
        let outcome = commit::commit_checkpoint(&self.connectors, sink, committables)
            .await
            .map_err(|error| failure("cannot make the output visible", sink, &error))?;
        let (files, rows, bytes) = (outcome.files, outcome.rows, outcome.bytes);
        tracing::debug!(%job, table = %sink.table.path, files, rows, bytes, "committed with a checkpoint");
        Ok(())
    }

    async fn abort(&self, job: JobId, sink: &SinkDescriptor) -> Result<(), Failure> {
        let aborted = commit::abort(&self.connectors, job, sink).await;
        aborted.map_err(|error| failure("cannot remove the staged output", sink, &error))
    }
}

fn failure(what: &str, sink: &SinkDescriptor, error: &thalweg_connectors::Error) -> Failure {
    let kind = match error.kind() {
        kind @ (FailureKind::Io | FailureKind::Unreachable) => kind,
        _ => FailureKind::CommitFailed,
    };
    Failure::new(kind, format!("{what} of `{}`: {}", sink.table.path, error.chain()))
}
