//! Keys that stay in memory, where the others are on the disk: those that were asked for lately.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::{
    error::Result,
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};

use super::state_log::StateLog;

/// What is in memory may take one part in so many of the worker's memory, the cache of what is on the disk one in so many.
const HOT_PARTS: usize = 8;
const CACHE_PARTS: usize = 16;
/// Changes that wait for a snapshot may take one part in so many of what is in memory.
const WAITING_PARTS: usize = 4;
/// Memory of a worker that has no bound is taken to be this.
const MEMORY_BYTES_DEFAULT: usize = 1 << 30;

/// When each key in memory was asked for last, and how much memory they may take.
pub struct HotKeys {
    /// Where the others are, and where changes may wait for a snapshot.
    pub folder: PathBuf,
    /// What is in memory may take.
    pub bytes_max: usize,
    /// What the cache of what is on the disk takes.
    pub cache_bytes: usize,
    /// The batch in which each key was asked for last.
    used: Vec<u32>,
    batch: u32,
    _cache: MemoryReservation,
}

impl HotKeys {
    /// None yet, with a share of this memory; the others are in this folder.
    pub fn new(folder: &Path, pool: &Arc<dyn MemoryPool>) -> Result<Self> {
        let memory = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            MemoryLimit::Infinite | MemoryLimit::Unknown => MEMORY_BYTES_DEFAULT,
        };
        let cache_bytes = memory / CACHE_PARTS;
        let cache = MemoryConsumer::new("state on disk").register(pool);
        cache.try_grow(cache_bytes)?;
        let (folder, bytes_max) = (folder.to_owned(), memory / HOT_PARTS);
        Ok(Self { folder, bytes_max, cache_bytes, used: Vec::new(), batch: 0, _cache: cache })
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
        if log.fresh_bytes() > self.bytes_max / WAITING_PARTS {
            log.spill(&self.folder, groups, keys)?;
        }
        Ok(true)
    }

    /// The bytes it holds, besides the cache.
    pub fn bytes(&self) -> usize {
        self.used.capacity() * size_of::<u32>()
    }
}
