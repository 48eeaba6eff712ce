//! Keys with numbers: equal keys have the same one, and a key is found by its number.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, UInt32Array},
    compute::take,
    datatypes::SchemaRef,
};
use datafusion::{
    error::Result,
    physical_plan::aggregates::{
        group_values::{GroupValues, new_group_values},
        order::GroupOrdering,
    },
};

use super::row_store::RowStore;

/// A hash table from keys to numbers from zero. Without any columns there is one key.
pub struct KeyTable {
    values: Option<Box<dyn GroupValues>>,
    /// The keys themselves, where they are asked for.
    keys: Option<RowStore>,
    schema: SchemaRef,
    /// The number of each key of the batch at hand.
    numbers: Vec<usize>,
    len: usize,
}

impl KeyTable {
    /// An empty table for keys of these columns.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let values = match schema.fields().is_empty() {
            true => None,
            false => Some(new_group_values(schema.clone(), &GroupOrdering::None)?),
        };
        let keys = Some(RowStore::new(Arc::clone(&schema)));
        Ok(Self { values, keys, schema, numbers: Vec::new(), len: 0 })
    }

    /// The same, of keys that nobody asks for by their number.
    pub fn numbering(schema: SchemaRef) -> Result<Self> {
        Ok(Self { keys: None, ..Self::new(schema)? })
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.len
    }

    /// The columns of keys.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The numbers of the keys that were last asked for.
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.size()) + self.keys.as_ref().map_or(0, RowStore::bytes)
    }

    /// The numbers of these keys; new ones get the next.
    pub fn intern(&mut self, columns: &[ArrayRef], rows: usize) -> Result<&[usize]> {
        self.numbers.clear();
        let Some(values) = &mut self.values else {
            self.numbers.resize(rows, 0);
            self.len = self.len.max(usize::from(rows > 0));
            return Ok(&self.numbers);
        };
        values.intern(columns, &mut self.numbers)?;
        let before = std::mem::replace(&mut self.len, values.len());
        if self.len > before
            && let Some(keys) = &mut self.keys
        {
            // They are not always numbered in the order of the rows.
            let mut first = vec![u32::MAX; self.len - before];
            for (row, number) in self.numbers.iter().enumerate() {
                if *number >= before && first[number - before] == u32::MAX {
                    first[number - before] = row as u32;
                }
            }
            let rows = UInt32Array::from(first);
            let new = columns.iter().map(|column| Ok(take(column, &rows, None)?)).collect::<Result<_>>()?;
            keys.push(new, rows.len())?;
        }
        Ok(&self.numbers)
    }

    /// The keys with these numbers.
    pub fn take(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        match &self.keys {
            Some(keys) if self.values.is_some() => keys.take(numbers),
            _ => Ok(Vec::new()),
        }
    }

    /// Keeps only the keys with these numbers, and gives them new ones: returns the old ones in the order of the new.
    pub fn keep(&mut self, numbers: &[u32]) -> Result<Vec<u32>> {
        if self.values.is_none() {
            return Ok((0..self.len as u32).collect());
        }
        let mut kept = Self::new(Arc::clone(&self.schema))?;
        let mut old = vec![0; numbers.len()];
        for part in numbers.chunks(8 << 10) {
            let columns = self.take(part)?;
            let given = kept.intern(&columns, part.len())?;
            given.iter().zip(part).for_each(|(new, number)| old[*new] = *number);
        }
        *self = kept;
        Ok(old)
    }
}
