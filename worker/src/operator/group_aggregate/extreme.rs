//! `MIN` and `MAX` of rows that are only added.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, ArrowNativeTypeOp, AsArray as _, PrimitiveArray},
    datatypes::{ArrowPrimitiveType, DataType},
};
use datafusion::error::Result;

use super::values::{Rows, Values, gather};

/// The least or the greatest value of each group.
pub struct Extreme<T: ArrowPrimitiveType> {
    data_type: DataType,
    is_max: bool,
    best: Vec<T::Native>,
    is_there: Vec<bool>,
}

impl<T: ArrowPrimitiveType> Extreme<T> {
    /// No values yet.
    pub fn new(data_type: DataType, is_max: bool) -> Self {
        Self { data_type, is_max, best: Vec::new(), is_there: Vec::new() }
    }
}

impl<T: ArrowPrimitiveType> Values for Extreme<T>
where
    T::Native: ArrowNativeTypeOp,
{
    fn resize(&mut self, groups: usize) {
        self.best.resize(groups, T::Native::default());
        self.is_there.resize(groups, false);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let values = rows.columns[0].as_primitive::<T>().values();
        let (best, is_there, is_max) = (&mut self.best, &mut self.is_there, self.is_max);
        rows.each(|row, group, _| {
            let value = values[row];
            let better = if is_max { value.is_gt(best[group]) } else { value.is_lt(best[group]) };
            if better || !is_there[group] {
                best[group] = value;
                is_there[group] = true;
            }
        });
        Ok(())
    }

    fn merge(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        // The best of some rows is a value like others; NULL where there is none.
        self.update(&Rows { groups, columns: states, filter: None, weights: None })
    }

    fn results(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let values = groups.iter().map(|group| {
            let group = *group as usize;
            self.is_there[group].then(|| self.best[group])
        });
        Ok(Arc::new(PrimitiveArray::<T>::from_iter(values).with_data_type(self.data_type.clone())))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![self.data_type.clone()]
    }

    fn states(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.results(groups)?])
    }

    fn set(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        let values = states[0].as_primitive::<T>();
        groups.iter().zip(values.values()).for_each(|(group, value)| self.best[*group] = *value);
        match values.nulls() {
            None => groups.iter().for_each(|group| self.is_there[*group] = true),
            Some(nulls) => groups.iter().zip(nulls).for_each(|(group, valid)| self.is_there[*group] = valid),
        }
        Ok(())
    }

    fn extend(&mut self, _: usize, states: &[ArrayRef]) -> Result<()> {
        let values = states[0].as_primitive::<T>();
        self.best.extend_from_slice(values.values());
        match values.nulls() {
            None => self.is_there.resize(self.best.len(), true),
            Some(nulls) => self.is_there.extend(nulls),
        }
        Ok(())
    }

    fn forget(&mut self, groups: &[u32]) -> Result<()> {
        groups.iter().for_each(|group| self.is_there[*group as usize] = false);
        Ok(())
    }

    fn keep(&mut self, groups: &[u32]) -> Result<()> {
        self.best = gather(&self.best, groups);
        self.is_there = gather(&self.is_there, groups);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<T::Native>() + self.is_there.capacity()
    }
}
