//! The worker's one memory number, dealt out: a fixed base for what nobody counts, the rest one pool that operators, exchange and
//! shuffle draw from. Operators that can spill share what the others leave.

use std::{num::NonZeroUsize, path::PathBuf, sync::Arc};

use datafusion::{
    error::Result,
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{MemoryLimit, MemoryPool, TrackConsumersPool},
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
};
use thalweg_plan::memory::pool_bytes;

use crate::spill_pool::SpillPool;

/// Consumers named in the error of a pool that is used up.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("3 is not zero");

/// A sort that has spilled merges one run more for each of these in the pool. Unbounded it would take all that is free, and a sort
/// beside it, as that of a join's other side, would find nothing.
const MERGE_SHARE_BYTES: usize = 16 << 20;
/// Fewer cannot be merged.
const MERGED_RUNS_MIN: usize = 2;

/// The pool of a worker that may use `memory_bytes` in all. To be handed to its process's connectors.
pub fn pool(memory_bytes: u64) -> Arc<dyn MemoryPool> {
    let bytes = usize::try_from(pool_bytes(memory_bytes)).unwrap_or(usize::MAX);
    Arc::new(TrackConsumersPool::new(SpillPool::new(bytes), CONSUMERS_NAMED))
}

/// The pool that the connectors were given, so that sinks draw from the same one; a pool of its own for a worker whose connectors
/// have no bound.
pub fn shared_pool(connectors: &RuntimeEnv, memory_bytes: u64) -> Arc<dyn MemoryPool> {
    match connectors.memory_pool.memory_limit() {
        MemoryLimit::Finite(_) => Arc::clone(&connectors.memory_pool),
        MemoryLimit::Infinite | MemoryLimit::Unknown => pool(memory_bytes),
    }
}

/// `base`'s object stores and caches with the worker's own pool and spill folders.
pub fn runtime_env(
    base: &RuntimeEnv,
    pool: Arc<dyn MemoryPool>,
    spill_dirs: Vec<PathBuf>,
) -> Result<Arc<RuntimeEnv>> {
    let merged_runs = match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => (bytes / MERGE_SHARE_BYTES).max(MERGED_RUNS_MIN),
        MemoryLimit::Infinite | MemoryLimit::Unknown => 0,
    };
    let disk_manager = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(spill_dirs))
        .with_max_spill_merge_fan_in(merged_runs);
    RuntimeEnvBuilder::from_runtime_env(base)
        .with_memory_pool(pool)
        .with_disk_manager_builder(disk_manager)
        .build_arc()
}
