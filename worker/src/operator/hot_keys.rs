//! Keys that stay in memory, where the others are on the disk: those that were asked for lately.

use std::{path::Path, sync::Arc};

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::{
    error::Result,
    execution::memory_pool::{MemoryPool, MemoryReservation},
};

use super::state_log::StateLog;
use crate::state::state_disk::{StateDisk, memory_bytes};

/// What is in memory may take one part in so many of the worker's memory.
const HOT_PARTS: usize = 8;
/// What a batch brings into memory at once may take one part in so many of that.
const LOAD_PARTS: usize = 4;
/// Changes that wait for a snapshot may take one part in so many of what is in memory.
const WAITING_PARTS: usize = 4;

/// When each key in memory was asked for last, and how much memory they may take.
pub struct HotKeys {
    /// Where the others are, and where changes may wait for a snapshot.
    pub disk: Arc<StateDisk>,
    /// What is in memory may take.
    bytes_max: usize,
    /// The batch in which each key was asked for last.
    used: Vec<u32>,
    batch: u32,
}

impl HotKeys {
    /// None yet, with a share of this memory; the others are in this folder.
    pub fn new(folder: &Path, pool: &Arc<dyn MemoryPool>) -> Result<Self> {
        let bytes_max = memory_bytes(pool) / HOT_PARTS;
        Ok(Self { disk: StateDisk::of(folder, pool)?, bytes_max, used: Vec::new(), batch: 0 })
    }

    /// The next batch begins; so many keys are in memory.
    pub fn begin(&mut self, keys: usize) {
        self.batch = self.batch.saturating_add(1);
        self.used.resize(keys, self.batch);
    }

    /// A key was asked for.
    pub fn asked(&mut self, key: usize) {
        self.used[key] = self.batch;
    }

    /// The keys that stay in memory: those asked for lately, not more than half.
    pub fn hot(&self) -> Vec<u32> {
        let mut used = self.used.clone();
        let half = used.len() / 2;
        if used.is_empty() {
            return Vec::new();
        }
        let median = *used.select_nth_unstable(half).1;
        (0..self.used.len() as u32).filter(|key| self.used[*key as usize] > median).collect()
    }

    /// Only these keys are left in memory, and have new numbers: the first of them is then key zero.
    pub fn keep(&mut self, keys: &[u32]) {
        self.used = keys.iter().map(|key| self.used[*key as usize]).collect();
    }

    /// Takes so much memory, where that is no more than its share and there is as much; says whether it has.
    pub fn takes(&self, memory: &MemoryReservation, bytes: usize) -> bool {
        bytes <= self.bytes_max && memory.try_resize(bytes).is_ok()
    }

    /// Whether so many bytes leave enough of the share for more to come.
    pub fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.bytes_max / 4 * 3
    }

    /// How many bytes a batch may bring into memory at once; more are brought by parts of it.
    pub fn load_bytes_max(&self) -> usize {
        self.bytes_max / LOAD_PARTS
    }

    /// Leaves changes that wait for a snapshot to the disk where they take much of the memory.
    pub fn spill_waiting(
        &self,
        log: &mut StateLog,
        groups: u16,
        keys: impl FnMut(&RecordBatch) -> Result<Vec<ArrayRef>>,
    ) -> Result<()> {
        if log.fresh_bytes() > self.bytes_max / WAITING_PARTS {
            log.spill(self.disk.folder(), groups, keys)?;
        }
        Ok(())
    }

    /// Leaves changes that wait for a snapshot to the disk where they take much of the memory. More than twice as many as the rows there
    /// are, `live`, are not worth it: they are dropped, which is said by `false`, and the next snapshot is to store everything.
    pub fn spill(
        &self,
        log: &mut StateLog,
        live: usize,
        groups: u16,
        keys: impl FnMut(&RecordBatch) -> Result<Vec<ArrayRef>>,
    ) -> Result<bool> {
        if log.is_long(live) {
            log.clear();
            return Ok(false);
        }
        self.spill_waiting(log, groups, keys)?;
        Ok(true)
    }

    /// The bytes it holds, besides the cache.
    pub fn bytes(&self) -> usize {
        self.used.capacity() * size_of::<u32>()
    }
}
