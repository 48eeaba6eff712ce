//! Fields of dates, times, timestamps and intervals.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array},
    compute::{DatePart, date_part},
    datatypes::{
        DataType, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
        IntervalYearMonthType,
    },
};
use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::common::{Result, exec_err};

use super::unit::Unit;
use crate::functions::{
    argument::{Call, Text, numbers},
    moment::Moments,
    zone::Zone,
};

/// `EXTRACT(unit FROM temporal)`
pub fn extract(call: &Call) -> Result<ArrayRef> {
    match call.text(0)? {
        Text::Constant(Some(unit)) => field(call, 1, Unit::named(unit)?),
        _ => exec_err!("EXTRACT takes the name of a unit"),
    }
}

/// Defines a function of one field.
macro_rules! fields {
    ($($name:ident $unit:ident $doc:literal,)*) => {$(
        #[doc = $doc]
        pub fn $name(call: &Call) -> Result<ArrayRef> {
            field(call, 0, Unit::$unit)
        }
    )*};
}

fields! {
    year Year "`YEAR(date)`",
    quarter Quarter "`QUARTER(date)`",
    month Month "`MONTH(date)`",
    week Week "`WEEK(date)`",
    day_of_year DayOfYear "`DAYOFYEAR(date)`",
    day_of_month Day "`DAYOFMONTH(date)`",
    day_of_week DayOfWeek "`DAYOFWEEK(date)`",
    hour Hour "`HOUR(timestamp)`",
    minute Minute "`MINUTE(timestamp)`",
    second Second "`SECOND(timestamp)`",
}

fn field(call: &Call, argument: usize, unit: Unit) -> Result<ArrayRef> {
    let column = call.column(argument)?;
    match column.data_type() {
        DataType::Interval(_) => return of_interval(&column, unit),
        DataType::Null => return Ok(Arc::new(Int64Array::new_null(call.rows))),
        DataType::Date32 | DataType::Timestamp(_, None) => {
            if let Some(part) = kernel_of(unit) {
                return Ok(arrow::compute::cast(&date_part(&column, part)?, &DataType::Int64)?);
            }
        }
        _ => {}
    }
    let moments = Moments::of(&column, Zone::of_session(call.config))?;
    let instants = Moments::of(&column, Zone::UTC)?;
    numbers::<Int64Type>(call.rows, |row| match unit {
        Unit::Epoch => Ok(instants.get(row)?.map(|moment| moment.and_utc().timestamp())),
        _ => moments.get(row)?.map(|moment| of_moment(moment, unit)).transpose(),
    })
}

/// Arrow's kernel for a field, where it means the same.
fn kernel_of(unit: Unit) -> Option<DatePart> {
    Some(match unit {
        Unit::Year => DatePart::Year,
        Unit::Quarter => DatePart::Quarter,
        Unit::Month => DatePart::Month,
        Unit::Week => DatePart::Week,
        Unit::Day => DatePart::Day,
        Unit::DayOfYear => DatePart::DayOfYear,
        Unit::Hour => DatePart::Hour,
        Unit::Minute => DatePart::Minute,
        Unit::Second => DatePart::Second,
        _ => return None,
    })
}

fn of_moment(moment: NaiveDateTime, unit: Unit) -> Result<i64> {
    let year = i64::from(moment.year());
    Ok(match unit {
        Unit::Millennium => (year + 999).div_euclid(1000),
        Unit::Century => (year + 99).div_euclid(100),
        Unit::Decade => year.div_euclid(10),
        Unit::Year => year,
        Unit::IsoYear => moment.iso_week().year().into(),
        Unit::Quarter => (moment.month0() / 3 + 1).into(),
        Unit::Month => moment.month().into(),
        Unit::Week => moment.iso_week().week().into(),
        Unit::Day => moment.day().into(),
        Unit::DayOfWeek => moment.weekday().number_from_sunday().into(),
        Unit::IsoDayOfWeek => moment.weekday().number_from_monday().into(),
        Unit::DayOfYear => moment.ordinal().into(),
        Unit::Hour => moment.hour().into(),
        Unit::Minute => moment.minute().into(),
        Unit::Second => moment.second().into(),
        Unit::Millisecond => (moment.nanosecond() / 1_000_000).into(),
        Unit::Microsecond => (moment.nanosecond() / 1_000).into(),
        Unit::Nanosecond => moment.nanosecond().into(),
        Unit::Epoch => moment.and_utc().timestamp(),
    })
}

fn of_interval(column: &ArrayRef, unit: Unit) -> Result<ArrayRef> {
    let column = match column.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            let months = column.as_primitive::<IntervalYearMonthType>();
            &months.unary::<_, IntervalMonthDayNanoType>(|months| IntervalMonthDayNano::new(months, 0, 0))
        }
        _ => column.as_primitive::<IntervalMonthDayNanoType>(),
    };
    numbers::<Int64Type>(column.len(), |row| {
        if column.is_null(row) {
            return Ok(None);
        }
        let interval = column.value(row);
        let (days, nanos) =
            (i64::from(interval.days) + interval.nanoseconds / 86_400_000_000_000, interval.nanoseconds);
        Ok(Some(match unit {
            Unit::Year => (interval.months / 12).into(),
            Unit::Month => (interval.months % 12).into(),
            Unit::Quarter => (interval.months % 12 / 3 + 1).into(),
            Unit::Day => days,
            Unit::Hour => nanos / 3_600_000_000_000 % 24,
            Unit::Minute => nanos / 60_000_000_000 % 60,
            Unit::Second => nanos / 1_000_000_000 % 60,
            Unit::Millisecond => nanos / 1_000_000 % 1_000,
            _ => return exec_err!("an interval has no {unit:?}"),
        }))
    })
}
