//! New rows of keys, and keys that have ended, as whole rows that are added and taken back.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch},
    datatypes::SchemaRef,
    row::{RowConverter, SortField},
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation};
use thalweg_plan::stream::changelog::{with_weight, without_weight};

use super::{
    changelog,
    link::{Next, Operator},
    row_store::RowStore,
    state_log::StateLog,
};
use crate::state::{Restored, Snapshot, check_schema, key_group::hashes};

/// Rows that have been replaced are thrown out when they are more than this and than twice the others.
const DEAD_MAX: usize = 16 << 10;

/// Keeps the last row of each key.
pub struct ChangelogNormalize {
    /// The columns of the key.
    keys: Vec<usize>,
    /// Whether each row comes out, also one that is replaced by another of its batch.
    each: bool,
    converter: RowConverter,
    /// The number of each key's row.
    of_key: HashMap<Box<[u8]>, u32>,
    key_bytes: usize,
    rows: RowStore,
    /// The hash of each row, which tells one that has not changed.
    hashes: Vec<u64>,
    log: StateLog,
    /// All columns, the weight behind them.
    schema: SchemaRef,
    key_groups: u16,
    memory: MemoryReservation,
}

impl ChangelogNormalize {
    /// An operator for rows with the columns of `input`, which have weights: below zero where a key ends.
    pub fn new(
        keys: Vec<usize>,
        each: bool,
        input: &SchemaRef,
        key_groups: u16,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let fields = keys.iter().map(|key| SortField::new(input.field(*key).data_type().clone()));
        Ok(Self {
            converter: RowConverter::new(fields.collect())?,
            keys,
            each,
            of_key: HashMap::new(),
            key_bytes: 0,
            rows: RowStore::new(without_weight(input)),
            hashes: Vec::new(),
            log: StateLog::new(0),
            schema: with_weight(&without_weight(input)),
            key_groups,
            memory,
        })
    }

    /// Takes rows; returns, for each key that changed, the number of its row before and of its row now; where each row is to come
    /// out, for each change.
    fn take(&mut self, batch: &RecordBatch) -> Result<Vec<(Option<u32>, Option<u32>)>> {
        let (rows, weights) = changelog::split(batch)?;
        let first = self.rows.count() as u32;
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| Arc::clone(rows.column(*key))).collect();
        let converted = self.converter.convert_columns(&keys)?;
        self.rows.push(rows.columns().to_vec(), rows.num_rows())?;
        self.hashes.extend(hashes(rows.columns(), rows.num_rows())?);
        let mut changed: HashMap<&[u8], (Option<u32>, Option<u32>)> = HashMap::new();
        let mut each = Vec::new();
        for row in 0..rows.num_rows() {
            let key = converted.row(row).data();
            let now = (changelog::weight(&weights, row) > 0).then_some(first + row as u32);
            match changed.entry(key) {
                Entry::Occupied(mut known) => {
                    each.push((known.get().1, now));
                    known.get_mut().1 = now;
                }
                Entry::Vacant(new) => {
                    let before = self.of_key.get(key).copied();
                    each.push((before, now));
                    new.insert((before, now));
                }
            }
        }
        for (key, (before, now)) in &changed {
            match (before, now) {
                (_, Some(now)) => {
                    self.key_bytes += if before.is_none() { key.len() } else { 0 };
                    self.of_key.insert((*key).into(), *now);
                }
                (Some(_), None) => {
                    self.key_bytes -= key.len();
                    self.of_key.remove(*key);
                }
                (None, None) => {}
            }
        }
        if self.each {
            return Ok(each);
        }
        let mut changed: Vec<_> = changed.into_values().collect();
        // In the order of the rows, not of the map.
        changed.sort_unstable_by_key(|(before, now)| (*now, *before));
        Ok(changed)
    }

    fn emit(&self, changed: &[(Option<u32>, Option<u32>)], next: &mut Next<'_>) -> Result<()> {
        let (mut numbers, mut weights) = (Vec::new(), Vec::new());
        for (before, now) in changed {
            let same = matches!((before, now), (Some(before), Some(now))
                if self.hashes[*before as usize] == self.hashes[*now as usize]);
            if same {
                continue;
            }
            for (row, weight) in [(before, -1), (now, 1)] {
                numbers.extend(row);
                weights.extend(row.map(|_| weight));
            }
        }
        if numbers.is_empty() {
            return Ok(());
        }
        next.rows(changelog::batch(&self.schema, self.rows.take(&numbers)?, weights)?)
    }

    fn compact(&mut self) -> Result<()> {
        if self.rows.count() > 2 * self.of_key.len() + DEAD_MAX {
            let live = self.live();
            self.rows.keep(&live)?;
            self.hashes = live.iter().map(|row| self.hashes[*row as usize]).collect();
            for row in self.of_key.values_mut() {
                *row = live.binary_search(row).unwrap_or_default() as u32;
            }
        }
        if self.log.is_long(self.of_key.len()) {
            self.log.clear();
            for part in self.live().chunks(64 << 10) {
                let mut columns = self.rows.take(part)?;
                columns.push(Arc::new(Int64Array::from(vec![1; part.len()])));
                self.log.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
            }
        }
        Ok(())
    }

    /// The rows of all keys, in the order in which they came.
    fn live(&self) -> Vec<u32> {
        let mut live: Vec<u32> = self.of_key.values().copied().collect();
        live.sort_unstable();
        live
    }

    fn resize(&mut self) -> Result<()> {
        let keys = self.key_bytes + self.of_key.len() * size_of::<(Box<[u8]>, u32)>();
        let hashes = self.hashes.capacity() * size_of::<u64>();
        self.memory.try_resize(self.rows.bytes() + keys + hashes + self.log.bytes())
    }
}

impl Operator for ChangelogNormalize {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let changed = self.take(&batch)?;
        self.emit(&changed, next)?;
        self.log.push(batch);
        self.compact()?;
        self.resize()
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let keys = &self.keys;
        self.log.snapshot(&mut snapshot, self.key_groups, |batch| {
            Ok(keys.iter().map(|key| Arc::clone(batch.column(*key))).collect())
        })?;
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        for chunk in restored.chunks {
            check_schema(&chunk.rows, &self.schema)?;
            self.take(&chunk.rows)?;
            self.log.restore(chunk);
        }
        self.resize()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::operator::{
        link::Side,
        zset::{Any, Event, KEY_GROUPS, Row, Run, batch, memory, schema},
    };

    /// A key, and its new value; without one the key ends.
    type Wish = (i64, Option<i64>);

    proptest! {
        #[test]
        fn what_is_there_is_the_last_row_of_each_key(
            batches in prop::collection::vec((prop::collection::vec((0i64..5, prop::option::of(0i64..3)), 1..8), 0..3usize), 1..12),
            each in any::<bool>()
        ) {
            let columns = schema(&["k", "v"], true);
            let make = || {
                let operator = ChangelogNormalize::new(vec![0], each, &schema(&["k", "v"], true), KEY_GROUPS, memory());
                Any::One(Box::new(operator.unwrap()))
            };
            let mut run = Run::new([Some(0), None], make);
            let mut last: BTreeMap<i64, Option<i64>> = BTreeMap::new();
            for (wishes, event) in batches {
                let rows: Vec<(Row, i64)> = wishes.iter().map(|(key, value): &Wish| {
                    // Of a key that ends nothing else is known.
                    (vec![Some(*key), *value], if value.is_some() { 1 } else { -1 })
                }).collect();
                last.extend(wishes);
                run.rows(Side::Left, &batch(&columns, &rows));
                let there = last.iter().filter(|(_, value)| value.is_some());
                let expected = there.map(|(key, value)| (vec![Some(*key), *value], 1)).collect();
                prop_assert_eq!(&run.total, &expected);
                run.happen([Event::Nothing, Event::Checkpoint, Event::Restart][event]);
            }
        }
    }

    #[test]
    fn keys_that_have_ended_leave_nothing_behind() {
        let columns = schema(&["k", "v"], true);
        let mut operator = ChangelogNormalize::new(vec![0], false, &columns, KEY_GROUPS, memory()).unwrap();
        for round in 0..4 {
            let keys = round * 20_000..(round + 1) * 20_000;
            for weight in [1, -1] {
                let rows: Vec<(Row, i64)> =
                    keys.clone().map(|key| (vec![Some(key), Some(1)], weight)).collect();
                operator.rows(batch(&columns, &rows), &mut Next::new(&mut [], &mut Vec::new())).unwrap();
            }
        }
        assert_eq!((operator.of_key.len(), operator.key_bytes), (0, 0));
        assert!(operator.rows.count() <= DEAD_MAX, "{} rows are kept", operator.rows.count());
    }
}
