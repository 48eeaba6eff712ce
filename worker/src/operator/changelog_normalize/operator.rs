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

use super::cold::ColdRow;
use crate::{
    operator::{
        changelog,
        link::{Next, Operator},
        row_store::RowStore,
        state_log::StateLog,
    },
    state::{Restored, Snapshot, check_schema, key_group::hashes},
};

/// Rows that have been replaced are thrown out when they are more than this and than twice the others.
pub(super) const DEAD_MAX: usize = 16 << 10;

/// Keeps the last row of each key.
pub struct ChangelogNormalize {
    /// The columns of the key.
    pub(super) keys: Vec<usize>,
    /// Whether each row comes out, also one that is replaced by another of its batch.
    each: bool,
    converter: RowConverter,
    /// The number of each key's row.
    pub(super) of_key: HashMap<Box<[u8]>, u32>,
    pub(super) key_bytes: usize,
    pub(super) rows: RowStore,
    /// The hash of each row, which tells one that has not changed.
    pub(super) hashes: Vec<u64>,
    pub(super) log: StateLog,
    /// All columns, the weight behind them.
    pub(super) schema: SchemaRef,
    /// Where the rows of keys are that are not in memory; all are where there is no such place.
    pub(super) cold: Option<ColdRow>,
    pub(super) key_groups: u16,
    pub(super) memory: MemoryReservation,
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
            cold: None,
            key_groups,
            memory,
        })
    }

    /// Takes rows; returns, for each key that changed, the number of its row before and of its row now; where each row is to come
    /// out, for each change.
    fn take(&mut self, batch: &RecordBatch) -> Result<Vec<(Option<u32>, Option<u32>)>> {
        let (rows, weights) = changelog::split(batch)?;
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| Arc::clone(rows.column(*key))).collect();
        let converted = self.converter.convert_columns(&keys)?;
        self.load(&keys, &converted)?;
        let first = self.rows.count() as u32;
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
        if let Some(cold) = &mut self.cold {
            for (row, key) in converted.iter().enumerate() {
                let number = first + row as u32;
                match changed.get(key.data()) {
                    Some((before, Some(now))) if *now == number => {
                        cold.changed(key.data(), number, before.is_none())
                    }
                    Some((before, None)) => cold.ended(key.data(), number, before.is_some()),
                    _ => {}
                }
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
        let ended = self.cold.as_ref().map_or(0, |cold| cold.ended.len());
        if self.rows.count() > 2 * (self.of_key.len() + ended) + DEAD_MAX {
            let mut kept = self.live();
            if let Some(cold) = &self.cold {
                kept.extend(cold.ended.values());
                kept.sort_unstable();
            }
            self.keep(&kept)?;
        }
        if self.cold.is_none() && self.log.is_long(self.of_key.len()) {
            self.log.clear();
            for part in self.live().chunks(64 << 10) {
                let mut columns = self.rows.take(part)?;
                columns.push(Arc::new(Int64Array::from(vec![1; part.len()])));
                self.log.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
            }
        }
        Ok(())
    }

    /// Keeps only the rows with these numbers, which are in order; all of keys are among them.
    pub(super) fn keep(&mut self, kept: &[u32]) -> Result<()> {
        self.rows.keep(kept)?;
        self.hashes = kept.iter().map(|row| self.hashes[*row as usize]).collect();
        let new_number = |row: &mut u32| *row = kept.binary_search(row).unwrap_or_default() as u32;
        self.of_key.values_mut().for_each(new_number);
        if let Some(cold) = &mut self.cold {
            cold.ended.values_mut().for_each(new_number);
            let unsaved = cold.unsaved.take();
            cold.unsaved.reset();
            for row in unsaved {
                if let Ok(row) = kept.binary_search(&row) {
                    cold.unsaved.mark(row);
                }
            }
        }
        Ok(())
    }

    /// The rows of all keys, in the order in which they came.
    pub(super) fn live(&self) -> Vec<u32> {
        let mut live: Vec<u32> = self.of_key.values().copied().collect();
        live.sort_unstable();
        live
    }

    pub(super) fn bytes(&self) -> usize {
        let keys = self.key_bytes + self.of_key.len() * size_of::<(Box<[u8]>, u32)>();
        let hashes = self.hashes.capacity() * size_of::<u64>();
        let cold = self.cold.as_ref().map_or(0, ColdRow::bytes);
        self.rows.bytes() + keys + hashes + self.log.bytes() + cold
    }
}

impl Operator for ChangelogNormalize {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let changed = self.take(&batch)?;
        self.emit(&changed, next)?;
        if !self.cold.as_ref().is_some_and(|cold| cold.all_wanted) {
            self.log.push(batch);
        }
        self.compact()?;
        self.fit()
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        if self.is_all_wanted() {
            self.snapshot_all(&mut snapshot)?;
            return Ok(snapshot);
        }
        let keys = &self.keys;
        self.log.snapshot(&mut snapshot, self.key_groups, |batch| {
            Ok(keys.iter().map(|key| Arc::clone(batch.column(*key))).collect())
        })?;
        Ok(snapshot)
    }

    fn takes_state_in_parts(&self) -> bool {
        self.cold.is_some()
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        for chunk in restored.chunks {
            check_schema(&chunk.rows, &self.schema)?;
            self.take(&chunk.rows)?;
            self.log.restore(chunk);
            if let Some(cold) = &mut self.cold {
                cold.all_wanted |= restored.unstored;
                self.compact()?;
                self.fit()?;
            }
        }
        self.fit()
    }
}
