//! `COUNT`.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, Int64Array},
    datatypes::{DataType, Int64Type},
};
use datafusion::error::Result;

use super::values::{Rows, Values, gather};

/// The number of rows without a NULL.
#[derive(Default)]
pub struct Count {
    counts: Vec<i64>,
}

impl Values for Count {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let counts = &mut self.counts;
        rows.each(|_, group, weight| counts[group] += weight);
        Ok(())
    }

    fn results(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(gather(&self.counts, groups))))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![DataType::Int64]
    }

    fn states(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.results(groups)?])
    }

    fn merge(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        let counts = states[0].as_primitive::<Int64Type>();
        groups.iter().zip(counts.values()).for_each(|(group, count)| self.counts[*group] += *count);
        Ok(())
    }

    fn set(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        let counts = states[0].as_primitive::<Int64Type>();
        groups.iter().zip(counts.values()).for_each(|(group, count)| self.counts[*group] = *count);
        Ok(())
    }

    fn extend(&mut self, _: usize, states: &[ArrayRef]) -> Result<()> {
        self.counts.extend_from_slice(states[0].as_primitive::<Int64Type>().values());
        Ok(())
    }

    fn forget(&mut self, groups: &[u32]) -> Result<()> {
        groups.iter().for_each(|group| self.counts[*group as usize] = 0);
        Ok(())
    }

    fn keep(&mut self, groups: &[u32]) -> Result<()> {
        self.counts = gather(&self.counts, groups);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}
