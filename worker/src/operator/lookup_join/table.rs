//! All rows of a table, by key. It never changes.

use arrow::{
    array::{Array as _, ArrayRef, RecordBatch, make_comparator},
    buffer::NullBuffer,
    compute::{SortOptions, concat_batches},
    datatypes::SchemaRef,
};
use datafusion::{
    error::{DataFusionError, Result},
    physical_expr::PhysicalExpr,
};

use std::{cmp::Ordering, sync::Arc};

use crate::{operator::keys::evaluated, state::key_group::hashes};

/// No row.
const NONE: u32 = u32::MAX;

/// A hash table over rows in memory.
pub struct LookupTable {
    /// The rows.
    pub rows: RecordBatch,
    keys: Vec<ArrayRef>,
    /// The first row of each bucket; a power of two of them.
    first: Vec<u32>,
    /// The row behind each in the same bucket.
    next: Vec<u32>,
    hashes: Vec<u64>,
}

/// Pairs of a row that looks up and a row that it finds, by the order of the former.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Those that look up.
    pub asking: Vec<u32>,
    /// Those that they find.
    pub found: Vec<u32>,
}

impl LookupTable {
    /// The rows of some batches with these columns. A row whose key is NULL is never found.
    pub fn new(schema: &SchemaRef, batches: &[RecordBatch], keys: &[Arc<dyn PhysicalExpr>]) -> Result<Self> {
        let rows = concat_batches(schema, batches)?;
        let count = rows.num_rows();
        if u32::try_from(count).is_err() {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "a table of {count} rows is too large to be looked up"
            )));
        }
        let keys = evaluated(keys, &rows)?;
        let valid = validity(&keys);
        let hashes = hashes(&keys, count)?;
        let mut first = vec![NONE; (count * 2).next_power_of_two().max(16)];
        let mut next = vec![NONE; count];
        // Backwards, so that a key's rows are found in their order.
        for row in (0..count).rev() {
            if valid.as_ref().is_none_or(|valid| valid.is_valid(row)) {
                let bucket = hashes[row] as usize & (first.len() - 1);
                next[row] = std::mem::replace(&mut first[bucket], row as u32);
            }
        }
        Ok(Self { rows, keys, first, next, hashes })
    }

    /// The rows with these keys.
    pub fn find(&self, keys: &[ArrayRef], rows: usize) -> Result<Pairs> {
        let mut pairs = Pairs::default();
        let valid = validity(keys);
        let compare = keys.iter().zip(&self.keys);
        let compare = compare.map(|(asking, own)| Ok(make_comparator(asking, own, SortOptions::default())?));
        let compare = compare.collect::<Result<Vec<_>>>()?;
        for (row, hash) in hashes(keys, rows)?.into_iter().enumerate() {
            if valid.as_ref().is_some_and(|valid| valid.is_null(row)) {
                continue;
            }
            let mut at = self.first[hash as usize & (self.first.len() - 1)];
            while at != NONE {
                let own = at as usize;
                if self.hashes[own] == hash && compare.iter().all(|c| c(row, own) == Ordering::Equal) {
                    pairs.asking.push(row as u32);
                    pairs.found.push(at);
                }
                at = self.next[own];
            }
        }
        Ok(pairs)
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        let numbers = (self.first.len() + self.next.len()) * size_of::<u32>();
        self.rows.get_array_memory_size() + numbers + self.hashes.len() * size_of::<u64>()
    }
}

/// Which rows have no NULL in their key.
fn validity(keys: &[ArrayRef]) -> Option<NullBuffer> {
    keys.iter().fold(None, |valid, key| NullBuffer::union(valid.as_ref(), key.logical_nulls().as_ref()))
}
