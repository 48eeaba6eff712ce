//! Which rows are in memory: those of keys that were asked for lately, as far as they were needed; the others are on the disk.
//!
//! A row that comes is paired with the other side's rows of its key, so these are read where memory has not all of them. Of its own side
//! only the row that it changes is looked for, by its hash: a key may have many rows that nobody reads again.

use std::{collections::HashSet, path::Path, sync::Arc};

use arrow::array::ArrayRef;
use datafusion::{error::Result, execution::memory_pool::MemoryPool};
use thalweg_plan::stream::changelog::with_weight;

use super::{
    cold_side::ColdSide,
    operator::Join,
    side::{Incoming, SideRows, keys_of},
};
use crate::{
    operator::{
        cold_rows::{ChunkColumns, ColdRows, Found, Heads, Kept, bytes_about},
        expiry::Expiry,
        hot_keys::HotKeys,
        key_table::KeyTable,
        state_log::StateLog,
    },
    state::Snapshot,
};

impl Join {
    /// Keeps in memory only as many rows as there is room for, the others in this folder. Not without keys, and not where the disk cannot
    /// keep such rows: then all stay in memory, which is said by `false`. After [`Self::forget_after`].
    pub fn keep_on_disk(&mut self, folder: &Path, pool: &Arc<dyn MemoryPool>) -> Result<bool> {
        let keys = Arc::clone(self.keys.schema());
        let supported = self.sides.iter().all(|side| ColdRows::supports(&keys, &side.schema));
        if keys.fields().is_empty() || !supported {
            return Ok(false);
        }
        let hot = HotKeys::new(folder, pool)?;
        for side in &mut self.sides {
            let is_timed = side.expiry.is_some();
            let rows = ColdRows::create(&hot.disk, &keys, &side.schema, is_timed)?;
            side.cold = Some(ColdSide::new(rows));
            side.log = StateLog::outside(side.log.table());
        }
        self.keys = KeyTable::new(keys)?;
        self.hot = Some(hot);
        Ok(true)
    }

    /// Brings into memory what rows of one side ask for, of which the first `known` keys were there; `false` where that is too much
    /// at once. `with_others`: whether they are paired with the rows of the other side.
    pub(super) fn load(
        &mut self,
        side: usize,
        incoming: &Incoming,
        keys: &[usize],
        known: usize,
        with_others: bool,
    ) -> Result<bool> {
        let Some(hot) = &mut self.hot else { return Ok(true) };
        let bytes_max = hot.load_bytes_max();
        hot.begin(self.keys.count());
        keys.iter().for_each(|key| hot.asked(*key));
        if known < self.keys.count() {
            let new: Vec<u32> = (known as u32..self.keys.count() as u32).collect();
            let columns = self.keys.take(&new)?;
            self.sides.iter_mut().try_for_each(|side| side.meet(&new, &columns))?;
        }
        // Of rows that the disk has and that are too old, only those know that are read.
        let counts_by_key = self.filter.is_none() && self.has_alone();
        let with_all = counts_by_key && self.sides[0].expiry.is_some();
        let missing = [(1 - side, with_others || with_all), (side, with_all)].map(|(side, is_needed)| {
            let missing = if is_needed { self.sides[side].missing(keys) } else { Vec::new() };
            (side, missing)
        });
        let bytes: usize = missing.iter().map(|(side, keys)| self.sides[*side].bytes_of(keys)).sum();
        let several = missing.iter().any(|(_, keys)| keys.len() > 1);
        if several && bytes > bytes_max {
            return Ok(false);
        }
        for (side, missing) in missing {
            let columns = self.keys.take(&missing)?;
            self.sides[side].load_keys(&missing, columns)?;
        }
        self.sides[side].load_rows(incoming, keys)?;
        Ok(true)
    }

    /// Takes the memory that it needs, or makes do with less.
    pub(super) fn fit(&mut self) -> Result<()> {
        let bytes = self.bytes();
        let Some(hot) = &self.hot else { return self.memory.try_resize(bytes) };
        if !hot.takes(&self.memory, bytes) {
            self.make_room()?;
            self.memory.try_resize(self.bytes())?;
        }
        Ok(())
    }

    /// Leaves rows of keys that were not asked for lately to the disk; all rows, where that is not enough.
    fn make_room(&mut self) -> Result<()> {
        let Some(hot) = &self.hot else { return Ok(()) };
        let kept = hot.hot();
        for side in &mut self.sides {
            side.save(&self.keys)?;
            let keys = &side.keys;
            let is_kept =
                hot.spill(&mut side.log, side.live, self.key_groups, |batch| keys_of(keys, batch))?;
            if let Some(cold) = side.cold.as_mut().filter(|_| !is_kept) {
                cold.rows.all_wanted = true;
            }
        }
        self.keep_keys(&kept)?;
        let bytes = self.bytes();
        if self.hot.as_ref().is_some_and(|hot| !hot.has_room(bytes)) {
            self.keep_keys(&[])?;
        }
        Ok(())
    }

    /// Leaves to the disk, which has everything, all rows but those of these keys.
    fn keep_keys(&mut self, keys: &[u32]) -> Result<()> {
        let mut new_number = vec![None; self.keys.count()];
        let keys = self.keys.keep(keys)?;
        keys.iter().enumerate().for_each(|(new, old)| new_number[*old as usize] = Some(new as u32));
        self.hot.iter_mut().for_each(|hot| hot.keep(&keys));
        self.touched.reset();
        self.sides.iter_mut().try_for_each(|side| side.keep_keys(&keys, &new_number))
    }

    /// Adds a side's rows to a snapshot: what has changed since the last one, or all.
    pub(super) fn snapshot_side(&mut self, side: usize, snapshot: &mut Snapshot) -> Result<()> {
        let side = &mut self.sides[side];
        let is_long = side.log.is_long(side.live);
        if side.cold.as_ref().is_some_and(|cold| cold.rows.all_wanted || is_long) {
            side.save(&self.keys)?;
            if let Some(cold) = &mut side.cold {
                cold.rows.all_wanted = false;
                let schema = if side.updating { with_weight(&side.schema) } else { Arc::clone(&side.schema) };
                let of_chunk = ChunkColumns { keys: false, weight: side.updating };
                let oldest_ms = side.expiry.as_ref().map(Expiry::oldest_ms);
                let all = cold.rows.all(side.log.table(), self.key_groups, oldest_ms, &schema, of_chunk)?;
                side.log.replace(all, side.live, snapshot);
            }
            return Ok(());
        }
        side.prepare_log();
        let keys = &side.keys;
        side.log.snapshot(snapshot, self.key_groups, |batch| keys_of(keys, batch))
    }
}

impl SideRows {
    /// Learns how many rows there are of keys that are new in memory.
    fn meet(&mut self, new: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let Some(cold) = self.cold.as_mut().filter(|cold| !cold.rows.is_empty) else { return Ok(()) };
        let heads = cold.rows.heads(columns)?;
        for (at, place) in heads.places.iter().enumerate() {
            let key = new[*place as usize] as usize;
            (self.totals[key], cold.counts[key]) = (heads.totals[at], heads.rows[at]);
            cold.is_whole[key] = false;
        }
        Ok(())
    }

    /// Those of these keys that have rows which are not in memory, each once.
    fn missing(&self, keys: &[usize]) -> Vec<u32> {
        let Some(cold) = &self.cold else { return Vec::new() };
        let mut missing: Vec<u32> =
            keys.iter().filter(|key| !cold.is_whole[**key]).map(|key| *key as u32).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// About how much memory the rows of these keys take.
    fn bytes_of(&self, keys: &[u32]) -> usize {
        let Some(cold) = &self.cold else { return 0 };
        let rows: i64 = keys.iter().map(|key| cold.counts[*key as usize]).sum();
        bytes_about(rows, self.rows.bytes(), self.rows.count())
    }

    /// Brings all rows of these keys into memory; those that are there are newer.
    fn load_keys(&mut self, missing: &[u32], columns: Vec<ArrayRef>) -> Result<()> {
        let Some(cold) = self.cold.as_ref().filter(|_| !missing.is_empty()) else { return Ok(()) };
        let found = cold.rows.all_of(&columns)?;
        let mut known = HashSet::new();
        for key in missing {
            known.extend(self.linked(*key as usize).map(|row| (*key, self.hashes[row as usize])));
        }
        let keys: Vec<u32> = found.places.iter().map(|place| missing[*place as usize]).collect();
        let is_new: Vec<bool> = keys
            .iter()
            .zip(&found.rows.numbers)
            .map(|(key, number)| !known.contains(&(*key, *number)))
            .collect();
        let rows = found.rows.filtered(&is_new)?;
        let keys = keys.iter().zip(is_new).filter(|(_, is_new)| *is_new).map(|(key, _)| *key as usize);
        self.loaded(rows, &keys.collect::<Vec<_>>())?;
        if let Some(cold) = &mut self.cold {
            missing.iter().for_each(|key| cold.is_whole[*key as usize] = true);
        }
        Ok(())
    }

    /// Brings those rows into memory that rows which have come may change.
    fn load_rows(&mut self, incoming: &Incoming, keys: &[usize]) -> Result<()> {
        let Some(cold) = &self.cold else { return Ok(()) };
        let (mut wanted, mut numbers, mut places) = (HashSet::new(), Vec::new(), Vec::new());
        for (row, hash) in incoming.hashes.iter().enumerate() {
            let key = keys[row];
            if cold.is_whole[key] || !wanted.insert((key, *hash)) {
                continue;
            }
            if self.linked(key).all(|kept| self.hashes[kept as usize] != *hash) {
                numbers.push(*hash);
                places.push(row as u32);
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let at = arrow::array::UInt32Array::from(places);
        let columns = incoming.keys.iter().map(|key| Ok(arrow::compute::take(key, &at, None)?));
        let Found { places, rows } = cold.rows.find(columns.collect::<Result<_>>()?, &numbers)?;
        let keys: Vec<usize> = places.iter().map(|place| keys[at.value(*place as usize) as usize]).collect();
        self.loaded(rows, &keys)
    }

    /// Rows that the disk has come into memory. Those that are too old are gone.
    fn loaded(&mut self, rows: Kept, keys: &[usize]) -> Result<()> {
        let (first, oldest_ms) = (self.rows.count(), self.expiry.as_ref().map(Expiry::oldest_ms));
        self.hold(rows, keys)?;
        let count = self.rows.count();
        if let Some(cold) = &mut self.cold {
            cold.loaded(count);
        }
        if let Some(oldest_ms) = oldest_ms {
            (first..count)
                .filter(|row| self.is_old(*row, oldest_ms))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|row| self.forget(row));
        }
        Ok(())
    }

    fn is_old(&self, row: usize, oldest_ms: i64) -> bool {
        self.weights[row] != 0 && self.changed_ms[row] <= oldest_ms
    }

    /// A row in memory is gone.
    fn forget(&mut self, row: usize) {
        let key = self.key_of[row] as usize;
        self.totals[key] -= std::mem::take(&mut self.weights[row]);
        self.live = self.live.saturating_sub(1);
        if let Some(cold) = &mut self.cold {
            cold.changed(row, key, true, false);
        }
    }

    /// Forgets the rows in memory that have not changed for long. Those on the disk are forgotten when they are read, and are left out when the
    /// next snapshot stores all that is there.
    pub(super) fn forget_in_memory(&mut self, oldest_ms: i64) {
        let old: Vec<usize> = (0..self.rows.count()).filter(|row| self.is_old(*row, oldest_ms)).collect();
        let Some(cold) = self.cold.as_mut().filter(|cold| !cold.rows.is_empty || !old.is_empty()) else {
            return;
        };
        cold.rows.all_wanted = true;
        self.log.clear();
        if !old.is_empty() {
            old.into_iter().for_each(|row| self.forget(row));
            self.link();
        }
    }

    /// Writes what has changed in memory to the disk.
    fn save(&mut self, keys: &KeyTable) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let (mut rows, heads) = (cold.unsaved.take(), cold.unsaved_keys.take());
        // What has come and gone since the last time was never there.
        rows.retain(|row| self.weights[*row as usize] != 0 || cold.on_disk[*row as usize]);
        if rows.is_empty() && heads.is_empty() {
            return Ok(());
        }
        let pick = |values: &[i64]| -> Vec<i64> {
            rows.iter().filter_map(|row| values.get(*row as usize).copied()).collect()
        };
        let of_keys = |values: &[i64]| heads.iter().map(|key| values[*key as usize]).collect();
        let kept = Kept {
            numbers: rows.iter().map(|row| self.hashes[*row as usize]).collect(),
            columns: self.rows.take(&rows)?,
            weights: pick(&self.weights),
            partners: pick(&self.partners),
            changed_ms: pick(&self.changed_ms),
        };
        let of_rows: Vec<u32> = rows.iter().map(|row| self.key_of[*row as usize]).collect();
        let heads_kept =
            Heads { places: Vec::new(), rows: of_keys(&cold.counts), totals: of_keys(&self.totals) };
        cold.rows.put((&keys.take(&of_rows)?, &kept), (&keys.take(&heads)?, &heads_kept))?;
        rows.iter().for_each(|row| cold.on_disk[*row as usize] = self.weights[*row as usize] != 0);
        Ok(())
    }

    /// Leaves only rows of these keys in memory, which have new numbers.
    fn keep_keys(&mut self, keys: &[u32], new_number: &[Option<u32>]) -> Result<()> {
        let kept = |row: &u32| new_number[self.key_of[*row as usize] as usize];
        let rows: Vec<u32> = self.live_rows().into_iter().filter(|row| kept(row).is_some()).collect();
        for key in &mut self.key_of {
            *key = new_number[*key as usize].unwrap_or_default();
        }
        self.totals = keys.iter().map(|key| self.totals[*key as usize]).collect();
        self.renamed(keys.len());
        if let Some(cold) = &mut self.cold {
            cold.keep_keys(keys);
        }
        self.keep(&rows)?;
        let count = self.rows.count();
        self.cold.iter_mut().for_each(|cold| cold.loaded(count));
        Ok(())
    }

    /// Takes note that a row's partners have changed.
    pub(super) fn partners_changed(&mut self, row: u32) {
        if let Some(cold) = &mut self.cold {
            cold.unsaved.mark(row as usize);
        }
    }
}
