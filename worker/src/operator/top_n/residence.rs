//! Which partitions are in memory: those that were asked for lately, each with all its rows; those of the others are on the disk.

use std::{path::Path, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::{error::Result, execution::memory_pool::MemoryPool};
use thalweg_plan::stream::changelog::with_weight;

use super::{
    cold::ColdPartitions,
    operator::{TopN, partition_keys},
    rows::NewRows,
};
use crate::{
    operator::{
        cold_rows::{ChunkColumns, ColdRows, Found, Heads, Kept, bytes_about},
        expiry::Expiry,
        hot_keys::HotKeys,
        key_table::KeyTable,
        state_log::StateLog,
    },
    state::{Snapshot, key_group::hashes},
};

impl TopN {
    /// Keeps in memory only as many rows as there is room for, the others in this folder. Not without partitions, and not where the disk
    /// cannot keep such rows: then all stay in memory, which is said by `false`. After [`Self::forget_after`].
    pub fn keep_on_disk(&mut self, folder: &Path, pool: &Arc<dyn MemoryPool>) -> Result<bool> {
        let keys = Arc::clone(self.partitions.schema());
        if keys.fields().is_empty() || !ColdRows::supports(&keys, &self.columns) {
            return Ok(false);
        }
        let (hot, is_timed) = (HotKeys::new(folder, pool)?, self.expiry.is_some());
        let rows = ColdRows::create(&hot.disk, &keys, &self.columns, is_timed)?;
        self.cold = Some(ColdPartitions::new(rows, hot));
        self.partitions = KeyTable::new(keys)?;
        self.log = StateLog::outside(self.log.table());
        Ok(true)
    }

    /// Brings these partitions into memory, of which the first `known` were there. Where that is too much at once, says which of those
    /// that are missing are to come first.
    pub(super) fn load(&mut self, partitions: &[usize], known: usize) -> Result<Option<Vec<u32>>> {
        let Some(cold) = &mut self.cold else { return Ok(None) };
        cold.hot.begin(self.partitions.count());
        partitions.iter().for_each(|partition| cold.hot.asked(*partition));
        cold.missing.resize(self.partitions.count(), 0);
        if cold.rows.is_empty {
            return Ok(None);
        }
        if known < self.partitions.count() {
            let new: Vec<u32> = (known as u32..self.partitions.count() as u32).collect();
            let heads = cold.rows.heads(&self.partitions.take(&new)?)?;
            for (place, rows) in heads.places.iter().zip(heads.rows) {
                cold.missing[new[*place as usize] as usize] = rows;
            }
        }
        let missing = partitions.iter().filter(|partition| cold.missing[**partition] > 0);
        let mut missing: Vec<u32> = missing.map(|partition| *partition as u32).collect();
        missing.sort_unstable();
        missing.dedup();
        let rows: i64 = missing.iter().map(|partition| cold.missing[*partition as usize]).sum();
        let bytes = bytes_about(rows, self.rows.bytes(), self.rows.len());
        if missing.len() > 1 && bytes > cold.hot.load_bytes_max() {
            missing.truncate(missing.len() / 2);
            return Ok(Some(missing));
        }
        if !missing.is_empty() {
            let found = cold.rows.all_of(&self.partitions.take(&missing)?)?;
            self.loaded(&missing, found)?;
        }
        Ok(None)
    }

    /// All rows of partitions have come into memory. Those of partitions that have not changed for long are gone.
    fn loaded(&mut self, missing: &[u32], Found { places, rows }: Found) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let Kept { numbers, columns, weights, changed_ms, .. } = rows;
        let (first, count) = (self.rows.len(), places.len());
        let batch = RecordBatch::try_new(Arc::clone(&self.columns), columns)?;
        let new = NewRows {
            sort_keys: self.plan.order_by.keys(&mut self.converter, &batch)?,
            hashes: if self.updating { hashes(batch.columns(), count)? } else { Vec::new() },
            batch: &batch,
        };
        let all: Vec<u32> = (0..count as u32).collect();
        self.rows.push(&new, &all, batch.columns().to_vec())?;
        let mut order = all;
        order.sort_unstable_by_key(|row| {
            let row = *row as usize;
            (places[row], new.sort_key(row), numbers[row])
        });
        for row in order {
            let (row, number) = (row as usize, first as u32 + row);
            let times = usize::try_from(weights[row]).unwrap_or_default();
            let partition = missing[places[row] as usize] as usize;
            self.lists[partition].extend(std::iter::repeat_n(number, times));
            (self.live, cold.away) = (self.live + times, cold.away.saturating_sub(times));
        }
        cold.partition_of.extend(places.iter().map(|place| missing[*place as usize]));
        cold.numbers.extend(numbers);
        cold.on_disk.resize(first + count, true);
        missing.iter().for_each(|partition| cold.missing[*partition as usize] = 0);
        let Some(oldest_ms) = self.expiry.as_ref().map(Expiry::oldest_ms) else { return Ok(()) };
        for (place, changed_ms) in places.iter().zip(changed_ms) {
            self.changed_ms[missing[*place as usize] as usize] = changed_ms;
        }
        self.forget_in_memory(missing.to_vec(), oldest_ms);
        Ok(())
    }

    /// Forgets those of these partitions that have not changed for long; says whether there are any.
    pub(super) fn forget_in_memory(&mut self, partitions: Vec<u32>, oldest_ms: i64) -> bool {
        let Some(cold) = &mut self.cold else { return false };
        let mut any = false;
        for partition in partitions {
            let list = &mut self.lists[partition as usize];
            if list.is_empty() || self.changed_ms[partition as usize] > oldest_ms {
                continue;
            }
            any = true;
            self.live -= list.len();
            list.drain(..).for_each(|row| cold.left(row));
            cold.unsaved_partitions.mark(partition as usize);
        }
        any
    }

    /// Forgets the partitions in memory that have not changed for long. Those on the disk are forgotten when they are read, and are left out
    /// when the next snapshot stores all that is there.
    pub(super) fn forget_cold(&mut self, oldest_ms: i64) {
        let any = self.forget_in_memory((0..self.lists.len() as u32).collect(), oldest_ms);
        if let Some(cold) = self.cold.as_mut().filter(|cold| any || !cold.rows.is_empty) {
            cold.rows.all_wanted = true;
            self.log.clear();
        }
    }

    /// Takes the memory that it needs, or makes do with less.
    pub(super) fn fit(&mut self) -> Result<()> {
        let bytes = self.bytes();
        let Some(cold) = &self.cold else { return self.memory.try_resize(bytes) };
        if !cold.hot.takes(&self.memory, bytes) {
            self.make_room()?;
            self.memory.try_resize(self.bytes())?;
        }
        Ok(())
    }

    /// Leaves partitions that were not asked for lately to the disk; all of them, where that is not enough.
    fn make_room(&mut self) -> Result<()> {
        self.save()?;
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let (live, partition_by) = (self.live + cold.away, &self.plan.partition_by);
        let keys = |batch: &RecordBatch| partition_keys(partition_by, batch);
        let is_kept = cold.hot.spill(&mut self.log, live, self.key_groups, keys)?;
        cold.rows.all_wanted |= !is_kept;
        let hot = cold.hot.hot();
        self.keep_partitions(&hot)?;
        let bytes = self.bytes();
        if self.cold.as_ref().is_some_and(|cold| !cold.hot.has_room(bytes)) {
            self.keep_partitions(&[])?;
        }
        Ok(())
    }

    /// Leaves to the disk, which has everything, all partitions but these.
    fn keep_partitions(&mut self, kept: &[u32]) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let mut new_number = vec![u32::MAX; self.partitions.count()];
        let kept = self.partitions.keep(kept)?;
        kept.iter().enumerate().for_each(|(new, old)| new_number[*old as usize] = new as u32);
        cold.hot.keep(&kept);
        cold.missing = kept.iter().map(|old| cold.missing[*old as usize]).collect();
        cold.partition_of.iter_mut().for_each(|partition| *partition = new_number[*partition as usize]);
        cold.unsaved_partitions.reset();
        self.lists = kept.iter().map(|old| std::mem::take(&mut self.lists[*old as usize])).collect();
        if self.expiry.is_some() {
            self.changed_ms = kept.iter().map(|old| self.changed_ms[*old as usize]).collect();
        }
        let live = self.lists.iter().map(Vec::len).sum();
        cold.away += std::mem::replace(&mut self.live, live) - live;
        self.touched.reset();
        self.drop_rows()
    }

    /// Writes what has changed in memory to the disk.
    pub(super) fn save(&mut self) -> Result<()> {
        let Some(cold) = &mut self.cold else { return Ok(()) };
        let partitions = cold.unsaved_partitions.take();
        let mut weights = vec![0i64; self.rows.len()];
        for row in partitions.iter().flat_map(|partition| &self.lists[*partition as usize]) {
            weights[*row as usize] += 1;
            if self.expiry.is_some() {
                // All rows of a partition are as old as its last change.
                cold.unsaved.mark(*row as usize);
            }
        }
        let mut rows = cold.unsaved.take();
        rows.retain(|row| weights[*row as usize] > 0 || cold.on_disk[*row as usize]);
        if rows.is_empty() && partitions.is_empty() {
            return Ok(());
        }
        let of_rows: Vec<u32> = rows.iter().map(|row| cold.partition_of[*row as usize]).collect();
        let is_timed = self.expiry.is_some();
        let kept = Kept {
            numbers: rows.iter().map(|row| cold.numbers[*row as usize]).collect(),
            columns: self.rows.take(&rows)?,
            weights: rows.iter().map(|row| weights[*row as usize]).collect(),
            partners: Vec::new(),
            changed_ms: match is_timed {
                true => of_rows.iter().map(|partition| self.changed_ms[*partition as usize]).collect(),
                false => Vec::new(),
            },
        };
        let lengths = partitions.iter().map(|partition| self.lists[*partition as usize].len() as i64);
        let lengths: Vec<i64> = lengths.collect();
        let heads = Heads { places: Vec::new(), totals: lengths.clone(), rows: lengths };
        let (of_rows, of_heads) = (self.partitions.take(&of_rows)?, self.partitions.take(&partitions)?);
        cold.rows.put((&of_rows, &kept), (&of_heads, &heads))?;
        rows.iter().for_each(|row| cold.on_disk[*row as usize] = weights[*row as usize] > 0);
        Ok(())
    }

    /// Whether the next snapshot stores all rows.
    pub(super) fn is_all_wanted(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.rows.all_wanted || self.log.is_long(self.live + cold.away))
    }

    /// Adds all rows to a snapshot.
    pub(super) fn snapshot_all(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        self.save()?;
        if let Some(cold) = &mut self.cold {
            cold.rows.all_wanted = false;
            let schema = if self.updating { with_weight(&self.columns) } else { Arc::clone(&self.columns) };
            let of_chunk = ChunkColumns { keys: false, weight: self.updating };
            let oldest_ms = self.expiry.as_ref().map(Expiry::oldest_ms);
            let all = cold.rows.all(self.log.table(), self.key_groups, oldest_ms, &schema, of_chunk)?;
            self.log.replace(all, self.live + cold.away, snapshot);
        }
        Ok(())
    }
}
