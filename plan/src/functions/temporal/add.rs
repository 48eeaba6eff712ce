//! Adding to timepoints.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array},
    datatypes::{DataType, Date32Type, IntervalMonthDayNanoType, TimeUnit},
};
use chrono::{Months, NaiveDateTime, TimeDelta, Timelike};
use datafusion::common::{Result, exec_datafusion_err, exec_err};

use super::unit::Unit;
use crate::functions::{
    argument::{Call, numbers},
    moment::{Moments, days_of, per_second, timestamps},
    zone::Zone,
};

/// `TIMESTAMPADD(unit, n, timepoint)`
pub fn timestampadd(call: &Call) -> Result<ArrayRef> {
    let (units, counts) = (call.text(0)?, call.integers(1)?);
    let zone = Zone::of_session(call.config);
    let moments = Moments::of(&call.column(2)?, zone)?;
    let later = |row: usize| {
        let (Some(unit), Some(count), Some(moment)) = (units.get(row), counts.get(row), moments.get(row)?)
        else {
            return Ok(None);
        };
        let unit = Unit::named(unit)?;
        let out_of_range = || exec_datafusion_err!("cannot add {count} {unit:?} to `{moment}`");
        add(moment, unit, count).map(Some).ok_or_else(out_of_range)
    };
    match call.return_type {
        DataType::Date32 => numbers::<Date32Type>(call.rows, |row| Ok(later(row)?.map(days_of))),
        DataType::Timestamp(..) => timestamps(call.return_type, zone, call.rows, later),
        DataType::Time32(_) | DataType::Time64(_) => times(call.return_type, call.rows, later),
        other => exec_err!("TIMESTAMPADD cannot add to {other}"),
    }
}

/// A moment so many units later; a day that the month does not have becomes its last.
pub fn add(moment: NaiveDateTime, unit: Unit, count: i64) -> Option<NaiveDateTime> {
    if let Some(months) = unit.months() {
        let months = count.checked_mul(months.into())?;
        let distance = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
        return if months < 0 {
            moment.checked_sub_months(distance)
        } else {
            moment.checked_add_months(distance)
        };
    }
    // In whole seconds where possible, since nanoseconds reach only 292 years.
    let delta = match unit.nanos()? {
        nanos if nanos % 1_000_000_000 == 0 => {
            TimeDelta::try_seconds(count.checked_mul(nanos / 1_000_000_000)?)?
        }
        nanos => TimeDelta::nanoseconds(count.checked_mul(nanos)?),
    };
    moment.checked_add_signed(delta)
}

/// `time + interval`, around midnight.
pub fn time_plus(call: &Call) -> Result<ArrayRef> {
    shift_time(call, 1)
}

/// `time - interval`, around midnight.
pub fn time_minus(call: &Call) -> Result<ArrayRef> {
    shift_time(call, -1)
}

fn shift_time(call: &Call, sign: i64) -> Result<ArrayRef> {
    let moments = Moments::of(&call.column(0)?, Zone::UTC)?;
    let interval_type = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
    let intervals = arrow::compute::cast(&call.column(1)?, &interval_type)?;
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
    times(call.return_type, call.rows, |row| {
        let Some(moment) = moments.get(row)?.filter(|_| !intervals.is_null(row)) else { return Ok(None) };
        Ok(Some(moment + TimeDelta::nanoseconds(sign * intervals.value(row).nanoseconds)))
    })
}

/// Builds a column of times of day.
pub fn times(
    data_type: &DataType,
    rows: usize,
    mut value: impl FnMut(usize) -> Result<Option<NaiveDateTime>>,
) -> Result<ArrayRef> {
    let unit = match data_type {
        DataType::Time32(unit) | DataType::Time64(unit) => *unit,
        other => return exec_err!("{other} is no time"),
    };
    let per_second = per_second(unit);
    let counts = (0..rows).map(|row| {
        let count = |moment: NaiveDateTime| {
            let seconds = i64::from(moment.num_seconds_from_midnight());
            seconds * per_second + i64::from(moment.nanosecond()) / (1_000_000_000 / per_second)
        };
        Ok(value(row)?.map(count))
    });
    let counts: ArrayRef = Arc::new(counts.collect::<Result<Int64Array>>()?);
    let counts = match unit {
        TimeUnit::Second | TimeUnit::Millisecond => arrow::compute::cast(&counts, &DataType::Int32)?,
        TimeUnit::Microsecond | TimeUnit::Nanosecond => counts,
    };
    Ok(arrow::compute::cast(&counts, data_type)?)
}
