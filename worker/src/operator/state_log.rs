//! A table of an operator's state as the changes that made it: a checkpoint stores those that came since the last one.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::concat_batches,
};
use datafusion::error::Result;

use crate::state::{
    ChunkId, Snapshot, StateChunk, StoredRows, key_group::key_groups, spilled::SpilledChunks,
};

/// Changes beyond this number of rows, and twice what is there, are replaced by what is there.
const SLACK_ROWS: usize = 16 << 10;

/// Batches of fewer rows are put together, to chunks of no more than eight times as many.
const SMALL_ROWS: usize = 8 << 10;

/// Changes, oldest first.
pub struct StateLog {
    table: u16,
    /// What older changes are known by that are not held once a snapshot has them; none where all are held.
    kept: Option<Vec<ChunkId>>,
    /// Changes that are held.
    chunks: Vec<Arc<StateChunk>>,
    /// Those that wait on the disk for a snapshot.
    spilled: Vec<Arc<dyn StoredRows>>,
    /// Those that no chunk has yet.
    fresh: Vec<RecordBatch>,
    fresh_bytes: usize,
    rows: usize,
}

impl StateLog {
    /// The log of one of an operator's tables.
    pub fn new(table: u16) -> Self {
        Self {
            table,
            kept: None,
            chunks: Vec::new(),
            spilled: Vec::new(),
            fresh: Vec::new(),
            fresh_bytes: 0,
            rows: 0,
        }
    }

    /// The same, of which changes do not stay in memory once a snapshot has them.
    pub fn outside(table: u16) -> Self {
        Self { kept: Some(Vec::new()), ..Self::new(table) }
    }

    /// Which of the operator's tables it is of.
    pub fn table(&self) -> u16 {
        self.table
    }

    /// Adds changes.
    pub fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        if batch.num_rows() > 0 {
            self.fresh_bytes += batch.get_array_memory_size();
            self.fresh.push(batch);
        }
    }

    /// Takes back a chunk of a checkpoint.
    pub fn restore(&mut self, chunk: Arc<StateChunk>) {
        // Behind a chunk that is held, all are: their order counts.
        match self.kept.as_mut().filter(|_| self.chunks.is_empty()) {
            Some(kept) => {
                self.rows += chunk.rows.num_rows();
                kept.push(chunk.id());
            }
            None => self.restore_unstored(chunk),
        }
    }

    /// Takes back a chunk that is in no file of this job: it is held until the next snapshot.
    pub fn restore_unstored(&mut self, chunk: Arc<StateChunk>) {
        self.rows += chunk.rows.num_rows();
        self.chunks.push(chunk);
    }

    /// The bytes of the changes that no snapshot has.
    pub fn fresh_bytes(&self) -> usize {
        self.fresh_bytes
    }

    /// Leaves the changes that no snapshot has to a file in this folder. `keys` finds the keys of some. Only of a log outside of memory.
    pub fn spill(
        &mut self,
        folder: &Path,
        groups: u16,
        keys: impl FnMut(&RecordBatch) -> Result<Vec<ArrayRef>>,
    ) -> Result<()> {
        let chunks = self.take_fresh(groups, keys)?;
        self.spilled.push(SpilledChunks::write(folder, &chunks)?);
        Ok(())
    }

    /// Replaces all changes by what there is, of which there are so many rows, and adds that to a snapshot.
    pub fn replace(&mut self, all: Arc<dyn StoredRows>, rows: usize, snapshot: &mut Snapshot) {
        self.clear();
        self.rows = rows;
        if let Some(kept) = &mut self.kept {
            kept.push(all.id());
        }
        snapshot.on_disk.push(all);
    }

    /// Whether there are many more changes than rows that are left of them.
    pub fn is_long(&self, live_rows: usize) -> bool {
        self.rows > 2 * live_rows + SLACK_ROWS
    }

    /// Forgets all changes; what is there is to be pushed.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.kept.iter_mut().for_each(Vec::clear);
        self.spilled.clear();
        self.fresh.clear();
        (self.fresh_bytes, self.rows) = (0, 0);
    }

    /// The bytes of the changes that are not shared with rows kept elsewhere.
    pub fn bytes(&self) -> usize {
        let kept = self.kept.as_ref().map(|_| self.fresh_bytes);
        self.chunks.iter().map(|chunk| chunk.bytes()).sum::<usize>() + kept.unwrap_or_default()
    }

    /// Adds all changes to a snapshot. `keys` finds the keys of some.
    pub fn snapshot(
        &mut self,
        snapshot: &mut Snapshot,
        groups: u16,
        keys: impl FnMut(&RecordBatch) -> Result<Vec<ArrayRef>>,
    ) -> Result<()> {
        snapshot.kept.extend(self.kept.iter().flatten());
        for spilled in self.spilled.drain(..) {
            self.kept.iter_mut().for_each(|kept| kept.push(spilled.id()));
            snapshot.on_disk.push(spilled);
        }
        let fresh = self.take_fresh(groups, keys)?;
        self.chunks.extend(fresh);
        self.chunks.iter().for_each(|chunk| snapshot.chunk(chunk));
        if let Some(kept) = &mut self.kept {
            let given = self.chunks.drain(..).filter(|chunk| chunk.rows.num_rows() > 0);
            kept.extend(given.map(|chunk| chunk.id()));
        }
        Ok(())
    }

    /// The changes that no snapshot has, in chunks.
    fn take_fresh(
        &mut self,
        groups: u16,
        mut keys: impl FnMut(&RecordBatch) -> Result<Vec<ArrayRef>>,
    ) -> Result<Vec<Arc<StateChunk>>> {
        self.fresh_bytes = 0;
        let mut chunks = Vec::new();
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
            chunks.push(StateChunk::new(self.table, batch, key_groups));
        }
        Ok(chunks)
    }
}
