//! What every sink gives a task.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use thalweg_graph::{CheckpointId, table::Committable};

use crate::error::Result;

/// What a finished writer leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkOutcome {
    /// What must be committed to be seen; `None` where there is nothing to commit.
    pub committable: Option<Committable>,
    /// Bytes that left the process.
    pub bytes_written: u64,
}

/// Writes the rows of one partition of one attempt. Nothing that it writes is visible before its committable is committed.
#[async_trait]
pub trait SinkWriter: Send {
    /// Takes rows; returns when there is room for more.
    async fn write(&mut self, batch: RecordBatch) -> Result<()>;
    /// At a checkpoint's barrier: makes durable what was written since the last one. What it returns is committed once the checkpoint
    /// is complete, and not before; rows that come after belong to the next. Nothing is returned where nothing must be committed.
    async fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Option<Committable>>;
    /// Ends the output. All of it is durable when this returns.
    async fn finish(self: Box<Self>) -> Result<SinkOutcome>;
    /// Removes what was written.
    async fn abort(self: Box<Self>);
}

/// What a commit made visible.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitOutcome {
    /// Files that are now visible.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}
