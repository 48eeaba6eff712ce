//! What every sink gives a task.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use thalweg_graph::{
    CheckpointId,
    checkpoint::{Barrier, SinkState},
    table::Committable,
};

use crate::error::Result;

/// What a finished writer leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SinkOutcome {
    /// What must be committed to be seen; `None` where there is nothing to commit.
    pub committable: Option<Committable>,
    /// Bytes that left the process.
    pub bytes_written: u64,
}

/// What the sink of a stream is given besides its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSink {
    /// Names what it keeps in checkpoints.
    pub uid: String,
    /// The folder of the job's checkpoints, as a URL; `None` where none are taken.
    pub checkpoints: Option<String>,
    /// What the checkpoint from which the job goes on has kept of it: this writer's share.
    pub restored: Vec<SinkState>,
}

/// What a writer leaves at a barrier.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prepared {
    /// What is committed once the checkpoint is complete, and not before.
    pub committable: Option<Committable>,
    /// What the writer has taken and keeps for a later one.
    pub state: Option<SinkState>,
}

/// Writes the rows of one partition of one attempt. Nothing that it writes is visible before its committable is committed.
#[async_trait]
pub trait SinkWriter: Send {
    /// Takes rows; returns when there is room for more.
    async fn write(&mut self, batch: RecordBatch) -> Result<()>;
    /// In a stream: no row that follows has this time or an earlier one; `None` where nothing is said about that for the time being.
    fn event_time(&mut self, _reached_ms: Option<i64>) {}
    /// At a checkpoint's barrier: makes durable what was written since the last one. What it returns is committed once the checkpoint
    /// is complete, and not before; rows that come after belong to the next. Nothing is returned where nothing must be committed.
    async fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Option<Committable>>;
    /// At a barrier: the same, for a writer that may also keep rows in the checkpoint instead of having them committed with it.
    async fn barrier(&mut self, barrier: &Barrier) -> Result<Prepared> {
        Ok(Prepared { committable: self.prepare(barrier.checkpoint).await?, state: None })
    }
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
