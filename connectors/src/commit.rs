//! Making a job's output visible, or withdrawing it. Both are idempotent: whoever leads the job after a crash calls again.

use thalweg_graph::{
    JobId,
    table::{Committable, SinkDescriptor},
};

pub use crate::writer::CommitOutcome;
use crate::{builtin::BuiltinConnectors, error::Result, filesystem, kafka};

/// Makes visible what the attempts that finished have written, all of it.
pub async fn commit(
    connectors: &BuiltinConnectors,
    job: JobId,
    sink: &SinkDescriptor,
    committables: &[Committable],
) -> Result<CommitOutcome> {
    match sink.table.connector() {
        "filesystem" => {
            filesystem::sink::commit::commit(connectors.file_systems(), job, sink, committables).await
        }
        "kafka" | "upsert-kafka" => kafka::sink::commit(sink, committables).await,
        _ => Ok(CommitOutcome::default()),
    }
}

/// Makes visible what writers have prepared for a checkpoint. They go on, and what else they have staged stays.
pub async fn commit_checkpoint(
    connectors: &BuiltinConnectors,
    sink: &SinkDescriptor,
    committables: &[Committable],
) -> Result<CommitOutcome> {
    match sink.table.connector() {
        "filesystem" => {
            filesystem::sink::commit::commit_checkpoint(connectors.file_systems(), sink, committables).await
        }
        "kafka" | "upsert-kafka" => kafka::sink::commit(sink, committables).await,
        _ => Ok(CommitOutcome::default()),
    }
}

/// Removes all that the job's attempts have written to the sink and that is not visible.
pub async fn abort(connectors: &BuiltinConnectors, job: JobId, sink: &SinkDescriptor) -> Result<()> {
    match sink.table.connector() {
        "filesystem" => filesystem::sink::commit::abort(connectors.file_systems(), job, sink).await,
        "kafka" | "upsert-kafka" => kafka::sink::abort(job, sink).await,
        _ => Ok(()),
    }
}
