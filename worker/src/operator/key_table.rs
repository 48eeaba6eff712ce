//! Keys with numbers: equal keys have the same one, and a key is found by its number.

use std::{ops::Range, sync::Arc};

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

use super::{
    integer_keys::{IntegerKeys, integer_keys},
    row_store::RowStore,
};

/// A hash table from keys to numbers from zero.
pub struct KeyTable {
    kind: Kind,
    schema: SchemaRef,
    /// The number of each key of the batch at hand.
    numbers: Vec<usize>,
    len: usize,
}

/// What is made of the columns of keys.
enum Kind {
    /// Without any columns there is one key.
    One,
    /// One column of whole numbers.
    Integers(Box<dyn IntegerKeys>),
    /// Any columns; the keys themselves beside, where they are asked for.
    Any(Box<dyn GroupValues>, Option<RowStore>),
}

impl KeyTable {
    /// An empty table for keys of these columns.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        Self::of(schema, true)
    }

    /// The same, of keys that nobody asks for by their number.
    pub fn numbering(schema: SchemaRef) -> Result<Self> {
        Self::of(schema, false)
    }

    fn of(schema: SchemaRef, asked_for: bool) -> Result<Self> {
        let integers = match schema.fields().as_ref() {
            [only] => integer_keys(only.data_type()),
            _ => None,
        };
        let kind = match integers {
            _ if schema.fields().is_empty() => Kind::One,
            Some(integers) => Kind::Integers(integers),
            None => {
                let keys = asked_for.then(|| RowStore::new(Arc::clone(&schema)));
                Kind::Any(new_group_values(Arc::clone(&schema), &GroupOrdering::None)?, keys)
            }
        };
        Ok(Self { kind, schema, numbers: Vec::new(), len: 0 })
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
        match &self.kind {
            Kind::One => 0,
            Kind::Integers(keys) => keys.bytes(),
            Kind::Any(values, keys) => values.size() + keys.as_ref().map_or(0, RowStore::bytes),
        }
    }

    /// The numbers of these keys; new ones get the next.
    pub fn intern(&mut self, columns: &[ArrayRef], rows: usize) -> Result<&[usize]> {
        self.numbers.clear();
        match &mut self.kind {
            Kind::One => {
                self.numbers.resize(rows, 0);
                self.len = self.len.max(usize::from(rows > 0));
            }
            Kind::Integers(keys) => {
                keys.intern(&columns[0], &mut self.numbers)?;
                self.len = keys.count();
            }
            Kind::Any(values, keys) => {
                values.intern(columns, &mut self.numbers)?;
                let before = std::mem::replace(&mut self.len, values.len());
                if let Some(keys) = keys.as_mut().filter(|_| self.len > before) {
                    push_new(keys, columns, &self.numbers, before..self.len)?;
                }
            }
        }
        Ok(&self.numbers)
    }

    /// The keys with these numbers.
    pub fn take(&self, numbers: &[u32]) -> Result<Vec<ArrayRef>> {
        match &self.kind {
            Kind::Integers(keys) => Ok(vec![keys.take(numbers)]),
            Kind::Any(_, Some(keys)) => keys.take(numbers),
            Kind::One | Kind::Any(_, None) => Ok(Vec::new()),
        }
    }

    /// The same numbers, in an order in which a table that takes their keys does not go to and fro in its memory.
    pub fn in_order(&self, numbers: Vec<u32>) -> Result<Vec<u32>> {
        match &self.kind {
            Kind::Integers(keys) => keys.by_place(numbers),
            Kind::One | Kind::Any(..) => Ok(numbers),
        }
    }

    /// Keeps only the keys with these numbers, and gives them new ones: returns the old ones in the order of the new.
    pub fn keep(&mut self, numbers: &[u32]) -> Result<Vec<u32>> {
        if let Kind::One = self.kind {
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

/// Adds the keys that are new in a batch, which have these numbers.
fn push_new(keys: &mut RowStore, columns: &[ArrayRef], numbers: &[usize], new: Range<usize>) -> Result<()> {
    // They are not always numbered in the order of the rows.
    let mut first = vec![u32::MAX; new.len()];
    for (row, number) in numbers.iter().enumerate() {
        if *number >= new.start && first[number - new.start] == u32::MAX {
            first[number - new.start] = row as u32;
        }
    }
    let rows = UInt32Array::from(first);
    let new = columns.iter().map(|column| Ok(take(column, &rows, None)?)).collect::<Result<_>>()?;
    keys.push(new, rows.len())
}
