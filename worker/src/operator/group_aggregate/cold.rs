//! Groups that are not in memory: those that have not been asked for lately are in a table on the local disk.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use datafusion::{
    error::Result,
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};

use crate::{operator::marks::Marks, state::lsm::LsmTable};

/// The groups in memory may take one part in so many of the worker's memory, the table's cache one in so many.
const HOT_PARTS: usize = 8;
const CACHE_PARTS: usize = 16;
/// Memory of a worker that has no bound is taken to be this.
const MEMORY_BYTES_DEFAULT: usize = 1 << 30;

/// Where groups are that are not in memory, and which of those in memory it knows.
pub struct ColdGroups {
    /// The groups on disk; of those that are in memory too, what they were.
    pub table: LsmTable,
    /// Where it is, and where changes may wait for a snapshot.
    pub folder: PathBuf,
    /// Groups in memory of which the table does not know the newest.
    pub unsaved: Marks,
    /// Whether the table has any.
    pub is_empty: bool,
    /// A snapshot is to store all groups, because the changes since the last one are not at hand.
    pub all_wanted: bool,
    /// The batch in which each group in memory was asked for last.
    used: Vec<u32>,
    batch: u32,
    /// What groups in memory may take.
    pub bytes_max: usize,
    _cache: MemoryReservation,
}

impl ColdGroups {
    /// None yet, of groups with these columns, of which the first are the key. `is_timed`: each with the time of its last change.
    pub fn create(
        folder: &Path,
        pool: &Arc<dyn MemoryPool>,
        schema: SchemaRef,
        keys: usize,
        is_timed: bool,
    ) -> Result<Self> {
        let memory = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            MemoryLimit::Infinite | MemoryLimit::Unknown => MEMORY_BYTES_DEFAULT,
        };
        let cache_bytes = memory / CACHE_PARTS;
        let cache = MemoryConsumer::new("state on disk").register(pool);
        cache.try_grow(cache_bytes)?;
        Ok(Self {
            table: LsmTable::create(folder, cache_bytes, schema, keys, is_timed)?,
            folder: folder.to_owned(),
            unsaved: Marks::default(),
            is_empty: true,
            all_wanted: false,
            used: Vec::new(),
            batch: 0,
            bytes_max: memory / HOT_PARTS,
            _cache: cache,
        })
    }

    /// The next batch begins; so many groups are in memory.
    pub fn begin(&mut self, groups: usize) {
        self.batch = self.batch.saturating_add(1);
        self.used.resize(groups, self.batch);
    }

    /// A group was asked for, and changed.
    pub fn changed(&mut self, group: usize) {
        self.used[group] = self.batch;
        self.unsaved.mark(group);
    }

    /// The groups that stay in memory: those asked for lately, not more than half.
    pub fn hot(&self) -> Vec<u32> {
        let mut used = self.used.clone();
        let half = used.len() / 2;
        if used.is_empty() {
            return Vec::new();
        }
        let median = *used.select_nth_unstable(half).1;
        (0..self.used.len() as u32).filter(|group| self.used[*group as usize] > median).collect()
    }

    /// Only these groups are left in memory.
    pub fn keep(&mut self, groups: &[u32]) {
        self.used = super::values::gather(&self.used, groups);
        self.unsaved.reset();
    }

    /// The bytes it holds, besides its cache.
    pub fn bytes(&self) -> usize {
        self.used.capacity() * size_of::<u32>()
    }
}
