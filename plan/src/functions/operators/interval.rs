//! An interval so many times.

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, IntervalMonthDayNanoType, IntervalUnit},
};
use datafusion::common::Result;

use crate::functions::argument::{Call, numbers};

/// Type of the result.
pub const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Whether a multiplication is of an interval and a whole number, in this order.
pub fn is_multiple(types: &[DataType; 2]) -> bool {
    types[0] == INTERVAL && types[1].is_integer()
}

/// `interval * number`; NULL beyond the longest interval.
pub fn times(call: &Call) -> Result<ArrayRef> {
    let (intervals, factors) = (call.numbers::<IntervalMonthDayNanoType>(0)?, call.integers(1)?);
    numbers::<IntervalMonthDayNanoType>(call.rows, |row| {
        let (Some(interval), Some(factor)) = (intervals.get(row), factors.get(row)) else { return Ok(None) };
        let part = |part: i32| i32::try_from(i64::from(part).checked_mul(factor)?).ok();
        let months_and_days = part(interval.months).zip(part(interval.days));
        let parts = months_and_days.zip(interval.nanoseconds.checked_mul(factor));
        Ok(parts.map(|((months, days), nanos)| IntervalMonthDayNanoType::make_value(months, days, nanos)))
    })
}
