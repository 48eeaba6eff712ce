//! A table of an operator's state as the changes that made it: a checkpoint stores those that came since the last one.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::concat_batches,
};
use datafusion::error::Result;

use crate::state::{Snapshot, StateChunk, key_group::key_groups};

/// Changes beyond this number of rows, and twice what is there, are replaced by what is there.
const SLACK_ROWS: usize = 16 << 10;

/// Batches of fewer rows are put together, to chunks of no more than eight times as many.
const SMALL_ROWS: usize = 8 << 10;

/// Changes, oldest first.
pub struct StateLog {
    table: u16,
    chunks: Vec<Arc<StateChunk>>,
    /// Those that no chunk has yet.
    fresh: Vec<RecordBatch>,
    rows: usize,
}

impl StateLog {
    /// The log of one of an operator's tables.
    pub fn new(table: u16) -> Self {
        Self { table, chunks: Vec::new(), fresh: Vec::new(), rows: 0 }
    }

    /// Adds changes.
    pub fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        if batch.num_rows() > 0 {
            self.fresh.push(batch);
        }
    }

    /// Takes back a chunk of a checkpoint.
    pub fn restore(&mut self, chunk: Arc<StateChunk>) {
        self.rows += chunk.rows.num_rows();
        self.chunks.push(chunk);
    }

    /// Whether there are many more changes than rows that are left of them.
    pub fn is_long(&self, live_rows: usize) -> bool {
        self.rows > 2 * live_rows + SLACK_ROWS
    }

    /// Forgets all changes; what is there is to be pushed.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.fresh.clear();
        self.rows = 0;
    }

    /// The bytes of the changes that are not shared with rows kept elsewhere.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes()).sum()
    }

    /// Adds all changes to a snapshot. `keys` finds the keys of some.
    pub fn snapshot(
        &mut self,
        snapshot: &mut Snapshot,
        groups: u16,
        mut keys: impl FnMut(&RecordBatch) -> Result<Vec<ArrayRef>>,
    ) -> Result<()> {
        let mut fresh = std::mem::take(&mut self.fresh).into_iter().peekable();
        while let Some(first) = fresh.next() {
            let (schema, mut rows) = (first.schema(), first.num_rows());
            let mut parts = vec![first];
            while let Some(part) =
                fresh.next_if(|part| part.num_rows() < SMALL_ROWS && rows + part.num_rows() <= 8 * SMALL_ROWS)
            {
                rows += part.num_rows();
                parts.push(part);
            }
            let batch = match parts.len() {
                1 => parts.swap_remove(0),
                _ => concat_batches(&schema, &parts)?,
            };
            let key_groups = key_groups(&keys(&batch)?, batch.num_rows(), groups)?;
            self.chunks.push(StateChunk::new(self.table, batch, key_groups));
        }
        self.chunks.iter().for_each(|chunk| snapshot.chunk(chunk));
        Ok(())
    }
}
