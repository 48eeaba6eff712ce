//! The keys of one pane or window with their accumulators.

use arrow::array::ArrayRef;
use datafusion::{
    error::Result,
    logical_expr::{EmitTo, GroupsAccumulator},
    physical_plan::aggregates::{
        group_values::{GroupValues, new_group_values},
        order::GroupOrdering,
    },
};

use super::kernel::{Input, Kernel};

/// A hash table from keys to accumulators.
pub struct Table {
    /// `None` where there are no keys: then there is one group.
    values: Option<Box<dyn GroupValues>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// The group of each row of the batch at hand.
    groups: Vec<usize>,
    /// Groups so far where there are no keys: one after the first row.
    keyless_groups: usize,
}

/// Whether a batch has rows or states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Rows, to be aggregated.
    Rows,
    /// States, to be merged.
    States,
}

impl Table {
    /// An empty table.
    pub fn new(kernel: &Kernel) -> Result<Self> {
        let keys = kernel.key_schema();
        let values = match keys.fields().is_empty() {
            true => None,
            false => Some(new_group_values(keys.clone(), &GroupOrdering::None)?),
        };
        Ok(Self { values, accumulators: kernel.accumulators()?, groups: Vec::new(), keyless_groups: 0 })
    }

    /// Takes rows or states.
    pub fn add(&mut self, input: &Input, of: Of) -> Result<()> {
        if input.rows == 0 {
            return Ok(());
        }
        self.groups.clear();
        match &mut self.values {
            Some(values) => values.intern(&input.keys, &mut self.groups)?,
            None => {
                self.groups.resize(input.rows, 0);
                self.keyless_groups = 1;
            }
        }
        let groups = self.len();
        for ((accumulator, values), filter) in
            self.accumulators.iter_mut().zip(&input.values).zip(&input.filters)
        {
            match of {
                Of::Rows => accumulator.update_batch(values, &self.groups, filter.as_ref(), groups)?,
                Of::States => accumulator.merge_batch(values, &self.groups, groups)?,
            }
        }
        Ok(())
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.values.as_ref().map_or(self.keyless_groups, |values| values.len())
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        let values = self.values.as_ref().map_or(0, |values| values.size());
        values + self.accumulators.iter().map(|accumulator| accumulator.size()).sum::<usize>()
    }

    /// Its keys and their states, a list of columns for each aggregate.
    pub fn into_states(mut self) -> Result<(Vec<ArrayRef>, Vec<Vec<ArrayRef>>)> {
        let states = self.accumulators.iter_mut().map(|accumulator| accumulator.state(EmitTo::All));
        let states = states.collect::<Result<_>>()?;
        Ok((self.keys()?, states))
    }

    /// Its keys and their results, a column for each aggregate.
    pub fn into_results(mut self) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>)> {
        let results = self.accumulators.iter_mut().map(|accumulator| accumulator.evaluate(EmitTo::All));
        let results = results.collect::<Result<_>>()?;
        Ok((self.keys()?, results))
    }

    fn keys(&mut self) -> Result<Vec<ArrayRef>> {
        self.values.as_mut().map_or_else(|| Ok(Vec::new()), |values| values.emit(EmitTo::All))
    }
}
