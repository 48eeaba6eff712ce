//! `MIN` and `MAX` of rows that are taken back too: when the best value goes, the next one must be known.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{ArrayRef, UInt32Array, new_empty_array},
    compute::take,
    datatypes::DataType,
    row::{RowConverter, SortField},
};
use datafusion::{common::internal_err, error::Result};

use super::{
    entries::{Changes, Entries},
    values::{Rows, Values},
};

/// All values of each group, in order.
pub struct Ordered {
    entries: Entries,
    data_type: DataType,
    is_max: bool,
    converter: RowConverter,
    /// Group, and value as bytes that are ordered like it.
    values: BTreeSet<(u32, Box<[u8]>)>,
    value_bytes: usize,
}

impl Ordered {
    /// No values yet.
    pub fn new(entries: Entries, data_type: DataType, is_max: bool) -> Result<Self> {
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
        Ok(Self { entries, data_type, is_max, converter, values: BTreeSet::new(), value_bytes: 0 })
    }

    fn take(&mut self, changes: &Changes) -> Result<()> {
        let rows = self.converter.convert_columns(&changes.columns[..1])?;
        for (row, group) in changes.groups.iter().enumerate() {
            let value: Box<[u8]> = rows.row(row).as_ref().into();
            let bytes = value.len();
            if changes.weights.value(row) > 0 {
                self.values.insert((*group as u32, value));
                self.value_bytes += bytes;
            } else {
                self.values.remove(&(*group as u32, value));
                self.value_bytes = self.value_bytes.saturating_sub(bytes);
            }
        }
        Ok(())
    }

    fn best(&self, group: u32) -> Option<&[u8]> {
        let least = (group, Box::default());
        let mut all = match group.checked_add(1) {
            Some(next) => self.values.range(least..(next, Box::default())),
            None => self.values.range(least..),
        };
        let best = if self.is_max { all.next_back() } else { all.next() };
        best.map(|(_, value)| value.as_ref())
    }
}

impl Values for Ordered {
    fn resize(&mut self, _: usize) {}

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let changes = self.entries.update(rows)?;
        self.take(&changes)
    }

    fn results(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let mut found = Vec::with_capacity(groups.len());
        let mut places = Vec::with_capacity(groups.len());
        for group in groups {
            let best = self.best(*group);
            places.push(best.map(|_| found.len() as u32));
            found.extend(best.map(|bytes| parser.parse(bytes)));
        }
        let values = match found.is_empty() {
            true => new_empty_array(&self.data_type),
            false => self.converter.convert_rows(found)?.swap_remove(0),
        };
        Ok(take(&values, &UInt32Array::from(places), None)?)
    }

    fn state_types(&self) -> Vec<DataType> {
        // It follows from the entries.
        Vec::new()
    }

    fn states(&mut self, _: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(Vec::new())
    }

    fn merge(&mut self, _: &[usize], _: &[ArrayRef]) -> Result<()> {
        internal_err!("values that are counted one by one are not merged")
    }

    fn set(&mut self, _: &[usize], _: &[ArrayRef]) -> Result<()> {
        Ok(())
    }

    fn forget(&mut self, groups: &[u32]) -> Result<()> {
        let changes = self.entries.forget(groups)?;
        changes.iter().try_for_each(|part| self.take(part))?;
        Ok(())
    }

    fn keep(&mut self, groups: &[u32]) -> Result<()> {
        let mut kept = BTreeSet::new();
        for (new, old) in groups.iter().enumerate() {
            let least = (*old, Box::default());
            let all = self.values.range(least..).take_while(|(group, _)| group == old);
            kept.extend(all.map(|(_, value)| (new as u32, value.clone())));
        }
        self.value_bytes = kept.iter().map(|(_, value)| value.len()).sum();
        self.values = kept;
        Ok(())
    }

    fn bytes(&self) -> usize {
        // A node of the tree takes about twice what it holds.
        let nodes = self.values.len() * 2 * size_of::<(u32, Arc<[u8]>)>();
        self.entries.bytes() + nodes + self.value_bytes
    }

    fn entries(&mut self) -> Option<&mut Entries> {
        Some(&mut self.entries)
    }

    fn entries_changed(&mut self, changes: &Changes) -> Result<()> {
        self.take(changes)
    }

    fn rebuild(&mut self) -> Result<()> {
        self.entries.all()?.iter().try_for_each(|part| self.take(part))
    }
}
