//! How a process's one memory number is dealt out: a fixed base for what nobody counts, the rest one pool; and how many rows
//! operators hand on at once so that a few batches of wide rows fit into their share of it.

/// Code, stacks, metadata, decoders' buffers: what lives outside the pool.
const BASE_BYTES: u64 = 128 << 20;
/// A pool smaller than this runs nothing useful.
const POOL_BYTES_MIN: u64 = 32 << 20;

/// Rows of a batch where memory is plenty: what Arrow's kernels like.
const BATCH_ROWS_MAX: u64 = 8192;
/// Fewer cost more in calls than they save in memory.
const BATCH_ROWS_MIN: u64 = 512;
/// Bytes of a partition's share of the pool for each row of a batch. A sort that spills holds twice a batch of each of at least
/// two runs: with this, rows of a kilobyte take a quarter of the share.
const SHARE_BYTES_PER_ROW: u64 = 16 << 10;

/// The pool of a process that may use so many bytes in all.
pub fn pool_bytes(process_bytes: u64) -> u64 {
    process_bytes.saturating_sub(BASE_BYTES).max(POOL_BYTES_MIN)
}

/// Rows of a batch where so many partitions share a pool.
pub fn batch_rows(pool_bytes: u64, partitions: u64) -> usize {
    let share = pool_bytes / partitions.max(1);
    (share / SHARE_BYTES_PER_ROW).clamp(BATCH_ROWS_MIN, BATCH_ROWS_MAX) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_pools_have_small_batches() {
        assert_eq!(pool_bytes(1728 << 20), 1600 << 20);
        assert_eq!(pool_bytes(100 << 20), 32 << 20);
        assert_eq!(batch_rows(pool_bytes(1728 << 20), 8), 8192);
        assert_eq!(batch_rows(32 << 20, 2), 1024);
        assert_eq!(batch_rows(32 << 20, 64), 512);
        assert_eq!(batch_rows(u64::MAX, 1), 8192);
    }
}
