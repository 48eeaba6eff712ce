//! Where state is that is not in memory: one database for all tables of a worker, with one cache and one thread that merges.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use datafusion::{
    error::{DataFusionError, Result},
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, config::PartitioningPolicy};
use parking_lot::Mutex;

/// The cache may take one part in so many of the worker's memory.
const CACHE_PARTS: usize = 8;
/// Where there is not as much left it takes less, but not less than this.
const CACHE_BYTES_MIN: usize = 1 << 10;
/// Memory of a worker that has no bound is taken to be this.
const MEMORY_BYTES_DEFAULT: usize = 1 << 30;
/// Threads that merge tables beside the operators.
const COMPACTION_THREADS: usize = 1;

/// A database below a folder. Its files go with it.
pub struct StateDisk {
    database: Database,
    folder: PathBuf,
    _cache: MemoryReservation,
}

/// All of the memory of a pool.
pub fn memory_bytes(pool: &Arc<dyn MemoryPool>) -> usize {
    match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => bytes,
        MemoryLimit::Infinite | MemoryLimit::Unknown => MEMORY_BYTES_DEFAULT,
    }
}

impl StateDisk {
    /// That of a worker, which is told by its temporary folder: made for the first operator that asks for it, gone with the last. Its cache
    /// is a part of the worker's memory.
    pub fn of(folder: &Path, pool: &Arc<dyn MemoryPool>) -> Result<Arc<Self>> {
        static DISKS: Mutex<BTreeMap<PathBuf, Weak<StateDisk>>> = Mutex::new(BTreeMap::new());
        let mut disks = DISKS.lock();
        if let Some(disk) = disks.get(folder).and_then(Weak::upgrade) {
            return Ok(disk);
        }
        disks.retain(|_, disk| disk.strong_count() > 0);
        let disk = Arc::new(Self::open(folder, pool)?);
        disks.insert(folder.to_owned(), Arc::downgrade(&disk));
        Ok(disk)
    }

    fn open(folder: &Path, pool: &Arc<dyn MemoryPool>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let cache = MemoryConsumer::new("cache of state on disk").register(pool);
        let mut cache_bytes = memory_bytes(pool) / CACHE_PARTS;
        while let Err(error) = cache.try_grow(cache_bytes) {
            if cache_bytes <= CACHE_BYTES_MIN {
                return Err(error);
            }
            cache_bytes /= 2;
        }
        let database = Database::builder(folder.join(format!("state-{}", NEXT.fetch_add(1, Relaxed))))
            .temporary(true)
            .worker_threads(COMPACTION_THREADS)
            .cache_size(cache_bytes as u64)
            .open()
            .map_err(failed)?;
        Ok(Self { database, folder: folder.to_owned(), _cache: cache })
    }

    /// The folder below which it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A table without rows. It is to be [dropped](Self::drop_table).
    pub fn new_table(&self) -> Result<Keyspace> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("rows-{}", NEXT.fetch_add(1, Relaxed));
        // Tables that come by ingestion keep neither filter nor index in memory. Read as a whole, a filter of a large table would push
        // everything else out of the cache at each look-up.
        let options = || {
            KeyspaceCreateOptions::default()
                .filter_block_partitioning_policy(PartitioningPolicy::all(true))
                .index_block_partitioning_policy(PartitioningPolicy::all(true))
        };
        self.database.keyspace(&name, options).map_err(failed)
    }

    /// Removes a table's files as soon as nobody reads them.
    pub fn drop_table(&self, table: &Keyspace) {
        if let Err(error) = self.database.delete_keyspace(table.clone()) {
            tracing::warn!(%error, "state on the local disk cannot be removed; it goes with the worker");
        }
    }

    /// Everything as it is now.
    pub fn snapshot(&self) -> fjall::Snapshot {
        self.database.snapshot()
    }
}

/// What is said of an error of the database.
pub fn failed(error: fjall::Error) -> DataFusionError {
    DataFusionError::Context(
        "the state on the local disk cannot be used".to_owned(),
        Box::new(DataFusionError::External(Box::new(error))),
    )
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    #[test]
    fn operators_share_a_database_and_its_memory() {
        let folder = tempfile::tempdir().unwrap();
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
        let first = StateDisk::of(folder.path(), &pool).unwrap();
        let second = StateDisk::of(folder.path(), &pool).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(pool.reserved(), (1 << 20) / CACHE_PARTS);
        let table = first.new_table().unwrap();
        table.insert("a", "b").unwrap();
        first.drop_table(&table);
        drop((first, second, table));
        assert_eq!(pool.reserved(), 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_cache_makes_do_with_what_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
        let taken = MemoryConsumer::new("others").register(&pool);
        taken.grow((1 << 20) - (40 << 10));
        let _disk = StateDisk::of(folder.path(), &pool).unwrap();
        assert_eq!(pool.reserved() - taken.size(), 32 << 10);
    }
}
