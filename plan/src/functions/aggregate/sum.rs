//! Sums of BIGINT, DOUBLE and DECIMAL. DataFusion's, except that a decimal sum of more than 38 digits is NULL.
//!
//! Decimals so short that not even 10^12 of them reach 38 digits are summed without a look at the digits. An overflow that
//! one part of the input had must reach the sum of all parts: a state then holds [`OVERFLOWED`], which no decimal is.

use std::{mem::size_of, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array},
    buffer::NullBuffer,
    datatypes::{DataType, Decimal128Type, FieldRef, i256},
};
use datafusion::{
    common::{Result, ScalarValue, plan_err},
    functions_aggregate::sum::Sum,
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
        Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::accumulate::NullState;

use crate::functions::conversion::fits;

/// The most digits of a decimal.
pub const MOST_DIGITS: u8 = 38;

/// A sum of 10^12 decimals of so many digits fits.
const SAFE_DIGITS: u8 = 26;

/// The state of a sum with too many digits.
const OVERFLOWED: i128 = i128::MAX;

/// The function.
pub fn checked() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(CheckedSum {
        unchecked: Sum::new(),
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    unchecked: Sum,
    signature: Signature,
}

/// The scale of the decimals, if their sum must be checked.
fn to_check(args: &AccumulatorArgs) -> Option<i8> {
    match args.expr_fields.first()?.data_type() {
        DataType::Decimal128(precision, scale) if *precision > SAFE_DIGITS && !args.is_distinct => {
            Some(*scale)
        }
        _ => None,
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Decimal128(_, scale)] => Ok(DataType::Decimal128(MOST_DIGITS, *scale)),
            [number] => Ok(number.clone()),
            _ => plan_err!("SUM takes one number"),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match to_check(&args) {
            Some(scale) => Ok(Box::new(Total { scale, total: i256::ZERO, count: 0, overflowed: false })),
            None => self.unchecked.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.unchecked.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.unchecked.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match to_check(&args) {
            Some(scale) => {
                Ok(Box::new(Totals { scale, totals: vec![], overflowed: vec![], seen: NullState::new() }))
            }
            None => self.unchecked.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match to_check(&args) {
            Some(_) => self.accumulator(args),
            None => self.unchecked.create_sliding_accumulator(args),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// The sum of one group or window frame. It is wide enough to come back from an overflow, as a window's sum may.
#[derive(Debug)]
struct Total {
    scale: i8,
    total: i256,
    count: usize,
    overflowed: bool,
}

impl Total {
    fn value(&self) -> Option<i128> {
        self.total.to_i128().filter(|total| !self.overflowed && fits(*total, MOST_DIGITS))
    }

    fn add(&mut self, values: &Decimal128Array) {
        self.count += values.len() - values.null_count();
        self.total = self.total.wrapping_add(sum(values));
    }
}

/// The sum of a batch: in 128 bits as far as they go.
fn sum(values: &Decimal128Array) -> i256 {
    let (mut total, mut part) = (i256::ZERO, 0i128);
    for value in values.iter().flatten() {
        part = match part.checked_add(value) {
            Some(sum) => sum,
            None => {
                total = total.wrapping_add(i256::from_i128(part));
                value
            }
        };
    }
    total.wrapping_add(i256::from_i128(part))
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(values[0].as_primitive());
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<Decimal128Type>();
        self.count -= values.len() - values.null_count();
        self.total = self.total.wrapping_sub(sum(values));
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let states = states[0].as_primitive::<Decimal128Type>();
        self.overflowed |= states.iter().flatten().any(|state| state == OVERFLOWED);
        self.add(states);
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = if self.count == 0 { None } else { self.value() };
        Ok(ScalarValue::Decimal128(value, MOST_DIGITS, self.scale))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let value = if self.count == 0 { None } else { Some(self.value().unwrap_or(OVERFLOWED)) };
        Ok(vec![ScalarValue::Decimal128(value, MOST_DIGITS, self.scale)])
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// The sums of many groups.
#[derive(Debug)]
struct Totals {
    scale: i8,
    totals: Vec<i128>,
    /// Whether a group has overflowed; empty as long as none has.
    overflowed: Vec<bool>,
    /// Which groups have seen a value.
    seen: NullState,
}

impl Totals {
    fn add(
        &mut self,
        values: &Decimal128Array,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
        is_overflowed: fn(i128) -> bool,
    ) {
        self.totals.resize(count, 0);
        if !self.overflowed.is_empty() {
            self.overflowed.resize(count, false);
        }
        let (totals, overflowed) = (&mut self.totals, &mut self.overflowed);
        self.seen.accumulate(groups, values, filter, count, |group, value| {
            let (total, beyond) = totals[group].overflowing_add(value);
            totals[group] = total;
            if beyond || is_overflowed(value) {
                overflowed.resize(count, false);
                overflowed[group] = true;
            }
        });
    }

    /// The sums, `instead` in place of those with too many digits.
    fn take(&mut self, emit_to: EmitTo, instead: Option<i128>) -> Result<ArrayRef> {
        let mut totals = emit_to.take_needed(&mut self.totals);
        let overflowed =
            if self.overflowed.is_empty() { vec![] } else { emit_to.take_needed(&mut self.overflowed) };
        let seen = self.seen.build(emit_to);
        let is_right = |group: usize, total: i128| {
            !overflowed.get(group).is_some_and(|overflowed| *overflowed) && fits(total, MOST_DIGITS)
        };
        let mut wrong = vec![];
        for (group, total) in totals.iter_mut().enumerate() {
            if !is_right(group, *total) {
                *total = instead.unwrap_or_default();
                wrong.push(group);
            }
        }
        let nulls = match (wrong.is_empty(), instead) {
            (false, None) => {
                let mut right = vec![true; totals.len()];
                wrong.into_iter().for_each(|group| right[group] = false);
                NullBuffer::union(seen.as_ref(), Some(&NullBuffer::from(right)))
            }
            _ => seen,
        };
        let totals = Decimal128Array::new(totals.into(), nulls);
        Ok(Arc::new(totals.with_precision_and_scale(MOST_DIGITS, self.scale)?))
    }
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.add(values[0].as_primitive(), groups, filter, count, |_| false);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.add(states[0].as_primitive(), groups, None, count, |state| state == OVERFLOWED);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.take(emit_to, None)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.take(emit_to, Some(OVERFLOWED))?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = match filter {
            Some(filter) => arrow::compute::nullif(&values[0], &arrow::compute::not(&passing(filter))?)?,
            None => Arc::clone(&values[0]),
        };
        let values = values.as_primitive::<Decimal128Type>().clone();
        Ok(vec![Arc::new(values.with_precision_and_scale(MOST_DIGITS, self.scale)?)])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<i128>() + self.overflowed.capacity() + self.seen.size()
    }
}

/// A filter in which NULL is false.
fn passing(filter: &BooleanArray) -> BooleanArray {
    match filter.null_count() {
        0 => filter.clone(),
        _ => arrow::compute::prep_null_mask_filter(filter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: i128 = 10i128.pow(38) - 1;

    fn column(values: &[Option<i128>]) -> Vec<ArrayRef> {
        let values = Decimal128Array::from(values.to_vec());
        vec![Arc::new(values.with_precision_and_scale(38, 0).expect("38 digits"))]
    }

    fn totals() -> Totals {
        Totals { scale: 0, totals: vec![], overflowed: vec![], seen: NullState::new() }
    }

    #[test]
    fn an_overflow_in_one_part_makes_the_whole_null() {
        let mut part = totals();
        let values = column(&[Some(LARGEST), Some(5), Some(LARGEST), None]);
        part.update_batch(&values, &[0, 1, 0, 2], None, 3).expect("added");
        let states = part.state(EmitTo::All).expect("a state");
        let mut whole = totals();
        whole.merge_batch(&states, &[0, 1, 2], 3).expect("merged");
        whole.merge_batch(&column(&[Some(-7), Some(1), None]), &[0, 1, 2], 3).expect("merged");
        let sums = whole.evaluate(EmitTo::All).expect("sums");
        let sums: Vec<_> = sums.as_primitive::<Decimal128Type>().iter().collect();
        assert_eq!(sums, [None, Some(6), None]);
    }

    #[test]
    fn groups_leave_one_after_another() {
        let mut groups = totals();
        groups.update_batch(&column(&[Some(1), Some(2), None]), &[0, 1, 2], None, 3).expect("added");
        let first = groups.evaluate(EmitTo::First(1)).expect("sums");
        assert_eq!(first.as_primitive::<Decimal128Type>().value(0), 1);
        groups.update_batch(&column(&[Some(LARGEST), Some(LARGEST)]), &[0, 2], None, 3).expect("added");
        let rest = groups.evaluate(EmitTo::All).expect("sums");
        let rest: Vec<_> = rest.as_primitive::<Decimal128Type>().iter().collect();
        assert_eq!(rest, [None, None, Some(LARGEST)]);
    }

    #[test]
    fn a_window_comes_back_from_an_overflow() {
        let mut frame = Total { scale: 0, total: i256::ZERO, count: 0, overflowed: false };
        frame.update_batch(&column(&[Some(LARGEST), Some(LARGEST)])).expect("added");
        assert!(frame.evaluate().expect("a sum").is_null());
        frame.retract_batch(&column(&[Some(LARGEST)])).expect("taken away");
        assert_eq!(frame.evaluate().expect("a sum"), ScalarValue::Decimal128(Some(LARGEST), 38, 0));
    }
}
