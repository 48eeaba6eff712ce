//! Entries whose groups are not in memory: they are in a table on the local disk, by the keys of their groups.
//!
//! A group that is in memory has all its entries there.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, Int64Array, UInt32Array},
    compute::take,
    datatypes::{Int64Type, Schema},
};
use datafusion::error::Result;

use super::entries::{Changes, Entries, group_numbers};
use crate::{
    operator::{
        cold_rows::{ChunkColumns, ColdRows, Heads, Kept},
        hot_keys::HotKeys,
        key_table::KeyTable,
        marks::Marks,
    },
    state::{Snapshot, StateChunk, check_schema, key_group::hashes, state_disk::StateDisk},
};

/// Where entries are, and which of those in memory it knows.
pub struct ColdEntries {
    rows: ColdRows,
    /// Entries in memory that have changed since the disk was last written, but for those that no snapshot has yet.
    unsaved: Marks,
    /// How many entries each group in memory has.
    of_group: Vec<i64>,
}

impl ColdEntries {
    /// Values have come to groups, or left them.
    pub fn count(&mut self, changes: &Changes) {
        for (group, weight) in changes.groups.iter().zip(changes.weights.values()) {
            self.count_one(*group, *weight);
        }
    }

    fn count_one(&mut self, group: usize, weight: i64) {
        if group >= self.of_group.len() {
            self.of_group.resize(group + 1, 0);
        }
        self.of_group[group] += weight;
    }

    /// The disk does not know the newest of these entries.
    pub fn changed(&mut self, numbers: &[u32]) {
        numbers.iter().for_each(|number| _ = self.unsaved.mark(*number as usize));
    }

    /// Only these groups are left in memory, all of whose entries the disk knows: the first of them is then group zero.
    pub fn keep(&mut self, groups: &[u32]) {
        let of_group = groups.iter().map(|group| self.of_group.get(*group as usize).copied().unwrap_or(0));
        self.of_group = of_group.collect();
        self.unsaved.reset();
    }

    /// The bytes it holds, besides its cache.
    pub fn bytes(&self) -> usize {
        self.unsaved.bytes() + self.of_group.capacity() * size_of::<i64>()
    }
}

impl Entries {
    /// Whether the disk can keep such entries.
    pub fn can_be_on_disk(&self, keys: &KeyTable) -> bool {
        ColdRows::supports(keys.schema(), &self.schema)
    }

    /// Keeps only those in memory whose groups are, the others in this folder.
    pub fn keep_on_disk(&mut self, disk: &Arc<StateDisk>, keys: &KeyTable) -> Result<()> {
        let values = &self.schema.fields()[self.key_columns..self.schema.fields().len() - 1];
        let values = Schema::new(values.to_vec());
        let rows = ColdRows::create(disk, keys.schema(), &values, false)?;
        self.cold = Some(ColdEntries { rows, unsaved: Marks::default(), of_group: Vec::new() });
        Ok(())
    }

    /// Brings all entries of groups into memory, which have these keys; says which they are.
    pub fn load(&mut self, groups: &[u32], keys: &[ArrayRef]) -> Result<Option<Changes>> {
        let Some(cold) = self.cold.as_mut().filter(|cold| !cold.rows.is_empty) else { return Ok(None) };
        let heads = cold.rows.heads(keys)?;
        if heads.places.is_empty() {
            return Ok(None);
        }
        let there: Vec<u32> = heads.places.iter().map(|place| groups[*place as usize]).collect();
        there.iter().zip(heads.rows).for_each(|(group, rows)| cold.count_one(*group as usize, rows));
        let places = UInt32Array::from(heads.places);
        let keys = keys.iter().map(|key| Ok(take(key, &places, None)?)).collect::<Result<Vec<_>>>()?;
        let found = cold.rows.all_of(&keys)?;
        let of_group: Vec<u32> = found.places.iter().map(|place| there[*place as usize]).collect();
        let groups: Vec<usize> = of_group.iter().map(|group| *group as usize).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(of_group))];
        columns.extend(found.rows.columns.iter().cloned());
        let numbers = self.table.intern(&columns, groups.len())?.to_vec();
        self.counts.resize(self.table.count(), 0);
        numbers.into_iter().zip(found.rows.weights).for_each(|(number, count)| self.counts[number] = count);
        let weights = Int64Array::from(vec![1; groups.len()]);
        Ok(Some(Changes { groups, columns: found.rows.columns, weights }))
    }

    /// Takes note of what has changed since it last did: in the log too, where the next snapshot stores changes.
    pub fn note_changes(&mut self, keys: &KeyTable, all_wanted: bool) -> Result<()> {
        let dirty = self.dirty.take();
        if all_wanted {
            self.log.clear();
            self.cold.iter_mut().for_each(|cold| cold.changed(&dirty));
            return Ok(());
        }
        self.push_changes(&dirty, keys)
    }

    /// Leaves changes that wait for a snapshot to the disk when they take much of the memory.
    pub fn spill_changes(&mut self, hot: &HotKeys, key_groups: u16) -> Result<bool> {
        let width = self.key_columns;
        hot.spill(&mut self.log, self.live, key_groups, |batch| Ok(batch.columns()[..width].to_vec()))
    }

    /// Whether there are many more changes than entries.
    pub fn is_long(&self) -> bool {
        self.log.is_long(self.live)
    }

    /// Writes what has changed to the disk. `groups` are all that have changed since the last time, with these keys.
    pub fn save(&mut self, groups: &[u32], keys: &KeyTable) -> Result<()> {
        let dirty = self.dirty.list().to_vec();
        let Some(cold) = &mut self.cold else { return Ok(()) };
        cold.changed(&dirty);
        let numbers = cold.unsaved.take();
        if numbers.is_empty() {
            return Ok(());
        }
        let mut columns = self.table.take(&numbers)?;
        let of_rows: Vec<u32> =
            group_numbers(&columns.remove(0)).into_iter().map(|group| group as u32).collect();
        let kept = Kept {
            numbers: hashes(&columns, numbers.len())?,
            columns,
            weights: numbers.iter().map(|number| self.counts[*number as usize].max(0)).collect(),
            ..Kept::default()
        };
        let rows: Vec<i64> =
            groups.iter().map(|group| cold.of_group.get(*group as usize).copied().unwrap_or(0)).collect();
        let heads = Heads { places: Vec::new(), totals: rows.clone(), rows };
        cold.rows.put((&keys.take(&of_rows)?, &kept), (&keys.take(groups)?, &heads))
    }

    /// Adds all entries to a snapshot. After they were saved.
    pub fn snapshot_all(&mut self, snapshot: &mut Snapshot, key_groups: u16) -> Result<()> {
        let Some(cold) = &self.cold else { return Ok(()) };
        let of_chunk = ChunkColumns { keys: true, weight: true };
        let all = cold.rows.all(self.log.table(), key_groups, None, &self.schema, of_chunk)?;
        self.dirty.take();
        self.log.replace(all, self.live, snapshot);
        Ok(())
    }

    /// Takes back a chunk of entries of these groups, all of whose entries are in memory; says which have come or gone by it.
    pub fn restore_part(&mut self, chunk: Arc<StateChunk>, groups: &[usize]) -> Result<Changes> {
        let rows = check_schema(&chunk.rows, &self.schema)?;
        let last = rows.num_columns() - 1;
        let of_group = UInt32Array::from_iter_values(groups.iter().map(|group| *group as u32));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(of_group)];
        columns.extend(rows.columns()[self.key_columns..last].iter().cloned());
        let counts = rows.column(last).as_primitive::<Int64Type>().values();
        let numbers = self.table.intern(&columns, rows.num_rows())?.to_vec();
        self.counts.resize(self.table.count(), 0);
        let (mut changed, mut signs) = (Vec::new(), Vec::new());
        for (row, (number, count)) in numbers.into_iter().zip(counts).enumerate() {
            let before = std::mem::replace(&mut self.counts[number], *count);
            let sign = i64::from(*count > 0) - i64::from(before > 0);
            if sign != 0 {
                changed.push(row as u32);
                signs.push(sign);
                self.live = self.live.saturating_add_signed(sign as isize);
            }
            self.cold.iter_mut().for_each(|cold| cold.changed(&[number as u32]));
        }
        let groups = changed.iter().map(|row| groups[*row as usize]).collect();
        let changed = UInt32Array::from(changed);
        let columns = columns[1..].iter().map(|column| Ok(take(column, &changed, None)?));
        let columns = columns.collect::<Result<_>>()?;
        let changes = Changes { groups, columns, weights: Int64Array::from(signs) };
        self.cold.iter_mut().for_each(|cold| cold.count(&changes));
        self.log.restore(chunk);
        Ok(changes)
    }
}
