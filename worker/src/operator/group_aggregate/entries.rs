//! How often each value is there in each group: for aggregates that must know values one by one.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, Int64Array, RecordBatch, UInt32Array},
    compute::{filter, take},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, UInt32Type},
};
use datafusion::error::Result;

use super::{cold_entries::ColdEntries, values::Rows};
use crate::{
    operator::{key_table::KeyTable, marks::Marks, state_log::StateLog},
    state::{Snapshot, StateChunk, check_schema},
};

/// Entries that are there no more are thrown out when they are more than this and than those that are.
const DEAD_MAX: usize = 16 << 10;

/// Values that are read at once.
const PART_ROWS: usize = 64 << 10;

/// Counts by group and value.
pub struct Entries {
    /// The group's number, then the values.
    pub(super) table: KeyTable,
    pub(super) counts: Vec<i64>,
    pub(super) live: usize,
    touched: Marks,
    pub(super) dirty: Marks,
    pub(super) log: StateLog,
    /// The columns of its part of the state: keys, values, the count.
    pub(super) schema: SchemaRef,
    pub(super) key_columns: usize,
    /// Where entries are whose groups are not in memory; all are where there is no such place.
    pub(super) cold: Option<ColdEntries>,
}

/// Values that have come to a group, or left it.
pub struct Changes {
    /// Their groups.
    pub groups: Vec<usize>,
    /// The values.
    pub columns: Vec<ArrayRef>,
    /// One for each that has come, minus one for each that has left.
    pub weights: Int64Array,
}

impl Entries {
    /// No entries, of values of these types. They are table `number` of an operator whose groups have these keys.
    pub fn new(number: u16, keys: &Schema, types: &[DataType]) -> Result<Self> {
        let values = types
            .iter()
            .enumerate()
            .map(|(at, data_type)| Arc::new(Field::new(format!("value{at}"), data_type.clone(), true)));
        let group = Arc::new(Field::new("group", DataType::UInt32, false));
        let entry: Vec<_> = [group].into_iter().chain(values.clone()).collect();
        let count = Arc::new(Field::new("count", DataType::Int64, false));
        let state: Vec<_> = keys.fields().iter().cloned().chain(values).chain([count]).collect();
        Ok(Self {
            table: KeyTable::new(Arc::new(Schema::new(entry)))?,
            counts: Vec::new(),
            live: 0,
            touched: Marks::default(),
            dirty: Marks::default(),
            log: StateLog::outside(number),
            schema: Arc::new(Schema::new(state)),
            key_columns: keys.fields().len(),
            cold: None,
        })
    }

    /// Counts rows; says which values are new or gone by it. A value is NULL in no entry.
    pub fn update(&mut self, rows: &Rows<'_>) -> Result<Changes> {
        let groups = UInt32Array::from_iter_values(rows.groups.iter().map(|group| *group as u32));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(groups)];
        columns.extend(rows.columns.iter().cloned());
        let mut weights = rows.weights.cloned();
        if let Some(valid) = rows.valid() {
            let mask = arrow::array::BooleanArray::new(valid.into_inner(), None);
            for column in &mut columns {
                *column = filter(column, &mask)?;
            }
            weights = weights
                .map(|weights| filter(&weights, &mask))
                .transpose()?
                .map(|weights| weights.as_primitive::<Int64Type>().clone());
        }
        let (changed, weights) = self.count(&columns, weights.as_ref())?;
        let changed = UInt32Array::from(changed);
        let mut columns = columns.iter().map(|column| take(column, &changed, None));
        let groups = columns.next().transpose()?.map_or_else(Vec::new, |groups| group_numbers(&groups));
        let columns = columns.collect::<Result<_, _>>()?;
        let changes = Changes { groups, columns, weights: Int64Array::from(weights) };
        self.cold.iter_mut().for_each(|cold| cold.count(&changes));
        Ok(changes)
    }

    /// The first row of each entry that is new or gone, and which of both.
    fn count(&mut self, columns: &[ArrayRef], weights: Option<&Int64Array>) -> Result<(Vec<u32>, Vec<i64>)> {
        self.table.intern(columns, columns[0].len())?;
        self.counts.resize(self.table.count(), 0);
        let numbers = self.table.numbers();
        let mut rows = Vec::new();
        let mut signs = Vec::new();
        let Some(weights) = weights else {
            // Of rows that are only added, nobody asks how often.
            for (row, number) in numbers.iter().enumerate() {
                if self.counts[*number] == 0 {
                    self.counts[*number] = 1;
                    self.dirty.mark(*number);
                    rows.push(row as u32);
                    signs.push(1);
                }
            }
            self.live += rows.len();
            return Ok((rows, signs));
        };
        let mut before = Vec::new();
        for (row, number) in numbers.iter().enumerate() {
            if self.touched.mark(*number) {
                before.push((row as u32, self.counts[*number]));
            }
            self.counts[*number] += weights.value(row);
            self.dirty.mark(*number);
        }
        for (number, (row, count)) in self.touched.take().into_iter().zip(before) {
            let sign = i64::from(self.counts[number as usize] > 0) - i64::from(count > 0);
            if sign != 0 {
                rows.push(row);
                signs.push(sign);
                self.live = self.live.saturating_add_signed(sign as isize);
            }
        }
        Ok((rows, signs))
    }

    /// All values that are there, some at a time.
    pub fn all(&self) -> Result<Vec<Changes>> {
        self.live().chunks(PART_ROWS).map(|numbers| self.changes(numbers, 1)).collect()
    }

    fn live(&self) -> Vec<u32> {
        (0..self.counts.len() as u32).filter(|at| self.counts[*at as usize] > 0).collect()
    }

    fn changes(&self, numbers: &[u32], weight: i64) -> Result<Changes> {
        let mut columns = self.table.take(numbers)?;
        let groups = group_numbers(&columns.remove(0));
        Ok(Changes { groups, columns, weights: Int64Array::from(vec![weight; numbers.len()]) })
    }

    /// Takes out all values of these groups; says which they were.
    pub fn forget(&mut self, groups: &[u32]) -> Result<Vec<Changes>> {
        let groups: HashSet<usize> = groups.iter().map(|group| *group as usize).collect();
        let mut forgotten = Vec::new();
        for numbers in self.live().chunks(PART_ROWS) {
            let of_group = group_numbers(&self.table.take(numbers)?[0]);
            let gone = numbers.iter().zip(of_group).filter(|(_, group)| groups.contains(group));
            let gone: Vec<u32> = gone.map(|(number, _)| *number).collect();
            for number in &gone {
                self.counts[*number as usize] = 0;
                self.dirty.mark(*number as usize);
            }
            self.live = self.live.saturating_sub(gone.len());
            forgotten.push(self.changes(&gone, -1)?);
        }
        Ok(forgotten)
    }

    /// Adds what has changed since the last snapshot. `keys` are those of the groups.
    pub fn snapshot(&mut self, snapshot: &mut Snapshot, keys: &KeyTable, key_groups: u16) -> Result<()> {
        let mut dirty = self.dirty.take();
        if self.cold.is_none() && self.log.is_long(self.live) {
            self.log.clear();
            dirty = self.live();
        }
        self.push_changes(&dirty, keys)?;
        let width = self.key_columns;
        self.log.snapshot(snapshot, key_groups, |batch| Ok(batch.columns()[..width].to_vec()))
    }

    /// Adds these entries, as they are, to the changes for the next snapshot.
    pub(super) fn push_changes(&mut self, numbers: &[u32], keys: &KeyTable) -> Result<()> {
        for part in numbers.chunks(PART_ROWS) {
            let mut values = self.table.take(part)?;
            let groups = values.remove(0);
            let mut columns = keys.take(groups.as_primitive::<UInt32Type>().values())?;
            columns.append(&mut values);
            let counts = part.iter().map(|number| self.counts[*number as usize].max(0));
            columns.push(Arc::new(Int64Array::from_iter_values(counts)));
            self.log.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        }
        self.cold.iter_mut().for_each(|cold| cold.changed(numbers));
        Ok(())
    }

    /// Takes back a chunk, of which `keys` gives the numbers of the groups.
    pub fn restore(&mut self, chunk: Arc<StateChunk>, unstored: bool, keys: &mut KeyTable) -> Result<()> {
        let rows = check_schema(&chunk.rows, &self.schema)?;
        let (key_columns, values) = rows.columns().split_at(self.key_columns);
        let groups = keys.intern(key_columns, rows.num_rows())?;
        let groups = UInt32Array::from_iter_values(groups.iter().map(|group| *group as u32));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(groups)];
        columns.extend(values[..values.len() - 1].iter().cloned());
        let counts = values[values.len() - 1].as_primitive::<Int64Type>();
        let numbers = self.table.intern(&columns, rows.num_rows())?.to_vec();
        self.counts.resize(self.table.count(), 0);
        for (number, count) in numbers.into_iter().zip(counts.values()) {
            let before = std::mem::replace(&mut self.counts[number], *count);
            self.live = self.live + usize::from(*count > 0) - usize::from(before > 0);
        }
        match unstored {
            true => self.log.restore_unstored(chunk),
            false => self.log.restore(chunk),
        }
        Ok(())
    }

    /// Whether much of it is of values that are gone.
    pub fn is_sparse(&self) -> bool {
        self.counts.len() > 2 * self.live + DEAD_MAX
    }

    /// Throws out what is gone, and what is of other groups than these, and gives each entry the new number of its group: the first of `groups` is then number zero. Only
    /// after a snapshot, which has taken note of what is gone.
    pub fn keep(&mut self, groups: &[u32], groups_before: usize) -> Result<()> {
        debug_assert!(self.dirty.list().is_empty());
        let mut new_number = vec![u32::MAX; groups_before];
        groups.iter().enumerate().for_each(|(new, old)| new_number[*old as usize] = new as u32);
        let mut table = KeyTable::new(self.table.schema().clone())?;
        let mut counts = Vec::new();
        for part in self.live().chunks(PART_ROWS) {
            let of_group = group_numbers(&self.table.take(part)?[0]);
            let kept = part.iter().zip(of_group).filter(|(_, group)| new_number[*group] != u32::MAX);
            let (part, of_group): (Vec<u32>, Vec<usize>) =
                kept.map(|(number, group)| (*number, group)).unzip();
            let mut columns = self.table.take(&part)?;
            let renumbered = of_group.iter().map(|group| new_number[*group]);
            columns[0] = Arc::new(UInt32Array::from_iter_values(renumbered));
            table.intern(&columns, part.len())?;
            counts.resize(table.count(), 0);
            table.numbers().iter().zip(part).for_each(|(new, old)| counts[*new] = self.counts[old as usize]);
        }
        (self.table, self.counts) = (table, counts);
        self.cold.iter_mut().for_each(|cold| cold.keep(groups));
        self.dirty.reset();
        self.touched.reset();
        Ok(())
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        let cold = self.cold.as_ref().map_or(0, ColdEntries::bytes);
        self.table.bytes() + self.counts.capacity() * size_of::<i64>() + self.log.bytes() + cold
    }
}

/// A column of numbers of groups.
pub(super) fn group_numbers(groups: &ArrayRef) -> Vec<usize> {
    groups.as_primitive::<UInt32Type>().values().iter().map(|group| *group as usize).collect()
}
