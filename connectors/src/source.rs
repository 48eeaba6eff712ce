//! What a stream reads a table through: rows in order, and where to go on after them.
//!
//! A task opens a reader for its share of a table and asks it for one event after the other. A checkpoint keeps the positions of
//! its splits; a job that is restored, at whatever parallelism, hands all of them to each of its readers, and each goes on with
//! the splits that are its own.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thalweg_graph::source::Split;
use thalweg_plan::exec::ConnectorScan;

use crate::error::Result;

/// One subtask among those that read a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Counted from zero.
    pub subtask: u32,
    /// How many there are.
    pub parallelism: u32,
}

/// What a reader is opened with.
pub struct OpenReader<'a> {
    /// The scan: the table, and the columns of it that are wanted.
    pub scan: &'a ConnectorScan,
    /// The columns of the rows to come.
    pub schema: SchemaRef,
    /// Rows of a batch, at most.
    pub batch_rows: usize,
    /// Which part of the table is read. A connector that finds its splits while it reads decides by it which are its own.
    pub share: Share,
    /// The splits that the plan has dealt to this subtask; none where the connector finds them while it reads.
    pub splits: &'a [Split],
    /// Where the job was at the checkpoint from which it goes on: the splits of all subtasks. `None` in a job that begins.
    pub restored: Option<&'a [SplitPosition]>,
}

/// Where a split's reader is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitPosition {
    /// The split's name, the same in every attempt and at every parallelism: `orders-3`.
    pub split: String,
    /// What the connector needs to go on with the row after the last one given. It must decode what an older build has written.
    pub position: Bytes,
}

/// Something that a reader has found. Splits are numbered by the reader, from zero, in the order in which they begin.
#[derive(Debug, Clone)]
pub enum SourceEvent {
    /// A split begins: event time does not pass it by until it has given rows, or has been idle for long.
    Begin {
        /// Its number.
        split: u32,
        /// Its name.
        name: String,
    },
    /// Rows of one split; at least one.
    Rows {
        /// The split's number.
        split: u32,
        /// The rows.
        batch: RecordBatch,
    },
    /// A split has nothing to give for the time being: event time does not wait for it, unless the user has said for how long it does.
    Idle {
        /// Its number.
        split: u32,
    },
    /// A split has given all of its rows.
    End {
        /// Its number.
        split: u32,
    },
}

/// Reads one subtask's share of a table.
#[async_trait]
pub trait SourceReader: Send {
    /// Waits for what comes next; `None` when there will be nothing more. A call that is dropped while it waits loses nothing.
    async fn next(&mut self) -> Result<Option<SourceEvent>>;

    /// Where to go on after all that `next` has given: every split of this share that was begun, ended ones too.
    fn positions(&self) -> Result<Vec<SplitPosition>>;

    /// A checkpoint with these positions is complete: what comes before them will never be asked for again.
    async fn checkpoint_completed(&mut self, _positions: &[SplitPosition]) -> Result<()> {
        Ok(())
    }
}
