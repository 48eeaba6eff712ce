//! Any other aggregate, of rows that are only added: one of DataFusion's accumulators for each group.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, UInt32Array, new_empty_array},
    compute::take,
    datatypes::DataType,
};
use datafusion::{
    common::ScalarValue, error::Result, logical_expr::Accumulator,
    physical_expr::aggregate::AggregateFunctionExpr,
};

use super::values::{Rows, Values};

/// Accumulators.
pub struct ByGroup {
    function: Arc<AggregateFunctionExpr>,
    state_types: Vec<DataType>,
    accumulators: Vec<Option<Box<dyn Accumulator>>>,
    bytes: usize,
}

impl ByGroup {
    /// No groups yet.
    pub fn new(function: Arc<AggregateFunctionExpr>) -> Result<Self> {
        let state_types = function.state_fields()?.iter().map(|field| field.data_type().clone()).collect();
        Ok(Self { function, state_types, accumulators: Vec::new(), bytes: 0 })
    }

    fn of(&mut self, group: usize) -> Result<&mut Box<dyn Accumulator>> {
        match &mut self.accumulators[group] {
            Some(accumulator) => Ok(accumulator),
            none => Ok(none.insert(self.function.create_accumulator()?)),
        }
    }
}

impl Values for ByGroup {
    fn resize(&mut self, groups: usize) {
        self.accumulators.resize_with(groups, || None);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let counts = |row: &usize| rows.filter.as_ref().is_none_or(|filter| filter.is_valid(*row));
        let mut order: Vec<usize> = (0..rows.groups.len()).filter(counts).collect();
        order.sort_by_key(|row| rows.groups[*row]);
        for run in order.chunk_by(|one, other| rows.groups[*one] == rows.groups[*other]) {
            let numbers = UInt32Array::from_iter_values(run.iter().map(|row| *row as u32));
            let columns = rows.columns.iter().map(|column| Ok(take(column, &numbers, None)?));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let accumulator = self.of(rows.groups[run[0]])?;
            let before = accumulator.size();
            accumulator.update_batch(&columns)?;
            let more = accumulator.size() as isize - before as isize;
            self.bytes = self.bytes.saturating_add_signed(more);
        }
        Ok(())
    }

    fn results(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let mut results = Vec::with_capacity(groups.len());
        for group in groups {
            results.push(self.of(*group as usize)?.evaluate()?);
        }
        column(results, self.function.field().data_type())
    }

    fn state_types(&self) -> Vec<DataType> {
        self.state_types.clone()
    }

    fn states(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let mut columns = vec![Vec::with_capacity(groups.len()); self.state_types.len()];
        for group in groups {
            let states = self.of(*group as usize)?.state()?;
            columns.iter_mut().zip(states).for_each(|(column, state)| column.push(state));
        }
        columns
            .into_iter()
            .zip(&self.state_types)
            .map(|(states, data_type)| column(states, data_type))
            .collect()
    }

    fn merge(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        for (row, group) in groups.iter().enumerate() {
            let own: Vec<ArrayRef> = states.iter().map(|column| column.slice(row, 1)).collect();
            let accumulator = self.of(*group)?;
            let before = accumulator.size();
            accumulator.merge_batch(&own)?;
            let more = accumulator.size() as isize - before as isize;
            self.bytes = self.bytes.saturating_add_signed(more);
        }
        Ok(())
    }

    fn set(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        for (row, group) in groups.iter().enumerate() {
            let own: Vec<ArrayRef> = states.iter().map(|column| column.slice(row, 1)).collect();
            self.accumulators[*group] = None;
            let accumulator = self.of(*group)?;
            accumulator.merge_batch(&own)?;
            self.bytes += accumulator.size();
        }
        Ok(())
    }

    fn forget(&mut self, groups: &[u32]) -> Result<()> {
        for group in groups {
            let gone = self.accumulators[*group as usize].take();
            self.bytes = self.bytes.saturating_sub(gone.map_or(0, |gone| gone.size()));
        }
        Ok(())
    }

    fn keep(&mut self, groups: &[u32]) -> Result<()> {
        self.accumulators = groups.iter().map(|group| self.accumulators[*group as usize].take()).collect();
        self.bytes = self.accumulators.iter().flatten().map(|accumulator| accumulator.size()).sum();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.accumulators.capacity() * size_of::<Option<Box<dyn Accumulator>>>() + self.bytes
    }
}

fn column(values: Vec<ScalarValue>, data_type: &DataType) -> Result<ArrayRef> {
    match values.is_empty() {
        true => Ok(new_empty_array(data_type)),
        false => ScalarValue::iter_to_array(values),
    }
}
