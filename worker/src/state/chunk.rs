//! A part of an operator's state that never changes.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
};
use datafusion::error::Result;

use super::key_group::KeyGroup;

/// Tells chunks of one process apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(u64);

impl ChunkId {
    /// One that no other chunk has.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

/// Rows of one of an operator's tables, each in a key group.
#[derive(Debug)]
pub struct StateChunk {
    id: ChunkId,
    /// Which of the operator's tables, as the operator numbers them. Part of the format of its state.
    pub table: u16,
    /// The rows.
    pub rows: RecordBatch,
    /// The key group of each.
    pub key_groups: Vec<KeyGroup>,
}

impl StateChunk {
    /// A new chunk.
    pub fn new(table: u16, rows: RecordBatch, key_groups: Vec<KeyGroup>) -> Arc<Self> {
        debug_assert_eq!(rows.num_rows(), key_groups.len());
        Arc::new(Self { id: ChunkId::next(), table, rows, key_groups })
    }

    /// Tells it apart from every other one.
    pub fn id(&self) -> ChunkId {
        self.id
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        self.rows.get_array_memory_size() + self.key_groups.len() * size_of::<KeyGroup>()
    }

    /// Those of its rows whose key group is among these; itself where that is all of them.
    pub fn restricted(self: &Arc<Self>, groups: &Range<KeyGroup>) -> Result<Arc<Self>> {
        if self.key_groups.iter().all(|group| groups.contains(group)) {
            return Ok(Arc::clone(self));
        }
        let kept = (0..self.key_groups.len()).filter(|row| groups.contains(&self.key_groups[*row]));
        let kept: Vec<u32> = kept.map(|row| row as u32).collect();
        let key_groups = kept.iter().map(|row| self.key_groups[*row as usize]).collect();
        let rows = match self.rows.num_columns() {
            // Arrow takes no rows of what has no columns.
            0 => self.rows.slice(0, kept.len()),
            _ => take_record_batch(&self.rows, &UInt32Array::from(kept))?,
        };
        Ok(Self::new(self.table, rows, key_groups))
    }
}
