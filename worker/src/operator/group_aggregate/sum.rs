//! `SUM`, of the three types that sums are computed in.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _, Int64Array, PrimitiveArray},
    datatypes::{
        ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal128Type,
        Decimal256Type, DecimalType as _, Float64Type, Int64Type, i256,
    },
};
use datafusion::error::Result;

use super::values::{Rows, Values, gather};

/// A type of numbers and how they are added up.
pub trait Summand: ArrowPrimitiveType {
    /// A type that is wide enough for what sums may be on the way.
    type Total: ArrowPrimitiveType;

    /// The type of totals that are kept, for numbers of this type.
    fn total_type(number: &DataType) -> DataType;

    /// A number, so many times.
    fn times(number: Self::Native, weight: i64) -> <Self::Total as ArrowPrimitiveType>::Native;

    /// One total and another.
    fn plus(
        total: <Self::Total as ArrowPrimitiveType>::Native,
        more: <Self::Total as ArrowPrimitiveType>::Native,
    ) -> <Self::Total as ArrowPrimitiveType>::Native;

    /// The sum, if it has not too many digits.
    fn result(total: <Self::Total as ArrowPrimitiveType>::Native) -> Option<Self::Native>;
}

impl Summand for Int64Type {
    type Total = Self;

    fn total_type(number: &DataType) -> DataType {
        number.clone()
    }

    fn times(number: i64, weight: i64) -> i64 {
        number.wrapping_mul(weight)
    }

    fn plus(total: i64, more: i64) -> i64 {
        total.wrapping_add(more)
    }

    fn result(total: i64) -> Option<i64> {
        Some(total)
    }
}

impl Summand for Float64Type {
    type Total = Self;

    fn total_type(number: &DataType) -> DataType {
        number.clone()
    }

    fn times(number: f64, weight: i64) -> f64 {
        number * weight as f64
    }

    fn plus(total: f64, more: f64) -> f64 {
        total + more
    }

    fn result(total: f64) -> Option<f64> {
        Some(total)
    }
}

impl Summand for Decimal128Type {
    type Total = Decimal256Type;

    fn total_type(number: &DataType) -> DataType {
        let scale = if let DataType::Decimal128(_, scale) = number { *scale } else { 0 };
        DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale)
    }

    fn times(number: i128, weight: i64) -> i256 {
        i256::from_i128(number).wrapping_mul(i256::from(weight))
    }

    fn plus(total: i256, more: i256) -> i256 {
        total.wrapping_add(more)
    }

    fn result(total: i256) -> Option<i128> {
        let total = total.to_i128()?;
        Decimal128Type::is_valid_decimal_precision(total, DECIMAL128_MAX_PRECISION).then_some(total)
    }
}

type Total<T> = <<T as Summand>::Total as ArrowPrimitiveType>::Native;

/// Sums; NULL of no numbers.
pub struct Sum<T: Summand> {
    /// The type of results.
    data_type: DataType,
    /// Whether numbers go again: where none is left, their total is nothing.
    takes_back: bool,
    totals: Vec<Total<T>>,
    counts: Vec<i64>,
}

impl<T: Summand> Sum<T> {
    /// No sums yet. `takes_back`: of numbers that are taken back after they have come.
    pub fn new(data_type: DataType, takes_back: bool) -> Self {
        Self { data_type, takes_back, totals: Vec::new(), counts: Vec::new() }
    }
}

impl<T: Summand> Sum<T> {
    fn add(&mut self, group: usize, total: Total<T>, count: i64) {
        self.totals[group] = T::plus(self.totals[group], total);
        self.counts[group] += count;
        if self.takes_back && self.counts[group] == 0 {
            // What rounding has left of numbers that are gone.
            self.totals[group] = Total::<T>::default();
        }
    }
}

impl<T: Summand> Values for Sum<T> {
    fn resize(&mut self, groups: usize) {
        self.totals.resize(groups, Total::<T>::default());
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, rows: &Rows<'_>) -> Result<()> {
        let numbers = rows.columns[0].as_primitive::<T>().values();
        rows.each(|row, group, weight| self.add(group, T::times(numbers[row], weight), weight));
        Ok(())
    }

    fn results(&mut self, groups: &[u32]) -> Result<ArrayRef> {
        let sums = groups.iter().map(|group| {
            let group = *group as usize;
            if self.counts[group] == 0 { None } else { T::result(self.totals[group]) }
        });
        Ok(Arc::new(PrimitiveArray::<T>::from_iter(sums).with_data_type(self.data_type.clone())))
    }

    fn state_types(&self) -> Vec<DataType> {
        vec![T::total_type(&self.data_type), DataType::Int64]
    }

    fn states(&mut self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let totals = PrimitiveArray::<T::Total>::from_iter_values(gather(&self.totals, groups));
        let totals = totals.with_data_type(T::total_type(&self.data_type));
        Ok(vec![Arc::new(totals), Arc::new(Int64Array::from(gather(&self.counts, groups)))])
    }

    fn merge(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        let (totals, counts) = (states[0].as_primitive::<T::Total>(), states[1].as_primitive::<Int64Type>());
        for (row, group) in groups.iter().enumerate() {
            self.add(*group, totals.value(row), counts.value(row));
        }
        Ok(())
    }

    fn set(&mut self, groups: &[usize], states: &[ArrayRef]) -> Result<()> {
        let (totals, counts) = (states[0].as_primitive::<T::Total>(), states[1].as_primitive::<Int64Type>());
        debug_assert_eq!(totals.null_count(), 0);
        groups.iter().zip(totals.values()).for_each(|(group, total)| self.totals[*group] = *total);
        groups.iter().zip(counts.values()).for_each(|(group, count)| self.counts[*group] = *count);
        Ok(())
    }

    fn extend(&mut self, _: usize, states: &[ArrayRef]) -> Result<()> {
        self.totals.extend_from_slice(states[0].as_primitive::<T::Total>().values());
        self.counts.extend_from_slice(states[1].as_primitive::<Int64Type>().values());
        Ok(())
    }

    fn forget(&mut self, groups: &[u32]) -> Result<()> {
        for group in groups {
            self.totals[*group as usize] = Total::<T>::default();
            self.counts[*group as usize] = 0;
        }
        Ok(())
    }

    fn keep(&mut self, groups: &[u32]) -> Result<()> {
        self.totals = gather(&self.totals, groups);
        self.counts = gather(&self.counts, groups);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.totals.capacity() * size_of::<Total<T>>() + self.counts.capacity() * size_of::<i64>()
    }
}
