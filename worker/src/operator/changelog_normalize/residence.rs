//! Which rows are in memory: those of keys that came lately; those of the others are on the disk.
//!
//! Each row that comes is its key's last one, so the rows with the highest numbers are those of the keys that came last.

use std::{collections::HashSet, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, UInt32Array},
    compute::take,
    row::Rows,
};
use datafusion::{error::Result, execution::memory_pool::MemoryPool};

use super::{cold::ColdRow, operator::ChangelogNormalize};
use crate::{
    operator::state_log::StateLog,
    state::{Snapshot, key_group::hashes, lsm::Known},
};

impl ChangelogNormalize {
    /// Keeps in memory only as many rows as there is room for, the others in this folder. Not where the disk cannot keep such rows: then all
    /// stay in memory, which is said by `false`.
    pub fn keep_on_disk(&mut self, folder: &Path, pool: &Arc<dyn MemoryPool>) -> Result<bool> {
        self.cold = ColdRow::create(folder, pool, self.rows.schema(), &self.keys)?;
        if self.cold.is_some() {
            self.log = StateLog::outside(self.log.table());
        }
        Ok(self.cold.is_some())
    }

    /// Brings the rows of these keys into memory.
    pub(super) fn load(&mut self, keys: &[ArrayRef], converted: &Rows) -> Result<()> {
        let Some(cold) = self.cold.as_ref().filter(|cold| !cold.is_empty) else { return Ok(()) };
        let mut asked = HashSet::new();
        let missing = (0..converted.num_rows()).filter(|row| {
            let key = converted.row(*row).data();
            !self.of_key.contains_key(key) && !cold.ended.contains_key(key) && asked.insert(key)
        });
        let missing: Vec<u32> = missing.map(|row| row as u32).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let at = UInt32Array::from(missing);
        let keys = keys.iter().map(|key| Ok(take(key, &at, None)?)).collect::<Result<Vec<_>>>()?;
        let found = cold.table.get(&keys)?;
        let first = self.rows.count() as u32;
        self.hashes.extend(hashes(&found.values, found.places.len())?);
        self.rows.push(found.values, found.places.len())?;
        for (number, place) in (first..).zip(found.places) {
            let key = converted.row(at.value(place as usize) as usize).data();
            self.key_bytes += key.len();
            self.of_key.insert(key.into(), number);
        }
        Ok(())
    }

    /// Takes the memory that it needs, or makes do with less.
    pub(super) fn fit(&mut self) -> Result<()> {
        let bytes = self.bytes();
        let Some(cold) = &self.cold else { return self.memory.try_resize(bytes) };
        if !cold.share.takes(&self.memory, bytes) {
            self.make_room()?;
            self.memory.try_resize(self.bytes())?;
        }
        Ok(())
    }

    /// Leaves the rows of keys that did not come lately to the disk.
    fn make_room(&mut self) -> Result<()> {
        self.save()?;
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let keys = &self.keys;
        let keys = |batch: &RecordBatch| Ok(keys.iter().map(|key| Arc::clone(batch.column(*key))).collect());
        let is_kept = cold.share.spill(&mut self.log, cold.live, self.key_groups, keys)?;
        cold.all_wanted |= !is_kept;
        let mut kept = self.live();
        self.keep_last(kept.split_off(kept.len().div_ceil(2)))?;
        let bytes = self.bytes();
        if self.cold.as_ref().is_some_and(|cold| !cold.share.has_room(bytes)) {
            self.keep_last(Vec::new())?;
        }
        Ok(())
    }

    /// Leaves all rows but these, the last ones, to the disk, which has everything.
    fn keep_last(&mut self, kept: Vec<u32>) -> Result<()> {
        let first = kept.first().copied().unwrap_or(u32::MAX);
        self.of_key.retain(|_, row| *row >= first);
        self.of_key.shrink_to_fit();
        self.key_bytes = self.of_key.keys().map(|key| key.len()).sum();
        self.keep(&kept)
    }

    /// Writes the rows that have changed to the disk.
    fn save(&mut self) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let unsaved: HashSet<u32> = cold.unsaved.take().into_iter().collect();
        let mut rows: Vec<u32> = self.of_key.values().copied().filter(|row| unsaved.contains(row)).collect();
        let live = rows.len();
        rows.extend(std::mem::take(&mut cold.ended).into_values());
        if rows.is_empty() {
            return Ok(());
        }
        let values = self.rows.take(&rows)?;
        let keys: Vec<ArrayRef> = self.keys.iter().map(|key| Arc::clone(&values[*key])).collect();
        cold.table.put(&keys, |places| {
            let at = UInt32Array::from(places.to_vec());
            let values = values.iter().map(|column| Ok(take(column, &at, None)?)).collect::<Result<_>>()?;
            Ok(Known { values, gone: places.iter().map(|place| *place as usize >= live).collect() })
        })?;
        cold.is_empty = false;
        Ok(())
    }

    /// Whether the next snapshot stores all rows.
    pub(super) fn is_all_wanted(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.all_wanted || self.log.is_long(cold.live))
    }

    /// Adds all rows to a snapshot.
    pub(super) fn snapshot_all(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        self.save()?;
        if let Some(cold) = &mut self.cold {
            cold.all_wanted = false;
            let all = cold.all(self.key_groups, &self.schema)?;
            self.log.replace(all, cold.live, snapshot);
        }
        Ok(())
    }
}
