//! Numbers for keys.

use arrow::{array::ArrayRef, datatypes::SchemaRef};
use datafusion::{
    error::Result,
    physical_plan::aggregates::{
        group_values::{GroupValues, new_group_values},
        order::GroupOrdering,
    },
};

/// The numbers of keys, from 0; without key columns there is one key.
pub struct Keys {
    schema: SchemaRef,
    values: Option<Box<dyn GroupValues>>,
}

impl Keys {
    /// No keys yet, of these types.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let values = match schema.fields().is_empty() {
            true => None,
            false => Some(new_group_values(schema.clone(), &GroupOrdering::None)?),
        };
        Ok(Self { schema, values })
    }

    /// The number of each row's key. New keys get the next numbers.
    pub fn number(&mut self, keys: &[ArrayRef], rows: usize) -> Result<Vec<usize>> {
        let mut numbers = Vec::with_capacity(rows);
        match &mut self.values {
            Some(values) if rows > 0 => values.intern(keys, &mut numbers)?,
            _ => numbers.resize(rows, 0),
        }
        Ok(numbers)
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.values.as_ref().map_or(1, |values| values.len())
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        self.values.as_ref().map_or(0, |values| values.size())
    }

    /// Forgets all keys.
    pub fn clear(&mut self) -> Result<()> {
        *self = Self::new(self.schema.clone())?;
        Ok(())
    }
}
