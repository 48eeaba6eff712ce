//! `FLOOR` and `CEIL` of a timepoint to a unit.
//!
//! Like Flink's: to units of a day and more only the date counts (10 o'clock of a Sunday is at the start of a week already),
//! and weeks begin on Sunday.

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Date32Type},
};
use chrono::{Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike};
use datafusion::common::{Result, exec_datafusion_err, exec_err};

use super::{add::times, unit::Unit};
use crate::functions::{
    argument::{Call, numbers},
    moment::{Moments, days_of, timestamps},
    zone::Zone,
};

/// `FLOOR(timepoint TO unit)`
pub fn floor(call: &Call) -> Result<ArrayRef> {
    round(call, floor_moment)
}

/// `CEIL(timepoint TO unit)`
pub fn ceil(call: &Call) -> Result<ArrayRef> {
    round(call, ceil_moment)
}

fn round(call: &Call, round: fn(NaiveDateTime, Unit) -> Option<NaiveDateTime>) -> Result<ArrayRef> {
    let units = call.text(1)?;
    let zone = Zone::of_session(call.config);
    let moments = Moments::of(&call.column(0)?, zone)?;
    let rounded = |row: usize| {
        let (Some(moment), Some(unit)) = (moments.get(row)?, units.get(row)) else { return Ok(None) };
        let unit = Unit::named(unit)?;
        let out_of_range = || exec_datafusion_err!("cannot round `{moment}` to {unit:?}");
        round(moment, unit).map(Some).ok_or_else(out_of_range)
    };
    match call.return_type {
        DataType::Date32 => numbers::<Date32Type>(call.rows, |row| Ok(rounded(row)?.map(days_of))),
        DataType::Timestamp(..) => timestamps(call.return_type, zone, call.rows, rounded),
        DataType::Time32(_) | DataType::Time64(_) => times(call.return_type, call.rows, rounded),
        other => exec_err!("cannot round {other}"),
    }
}

fn floor_moment(moment: NaiveDateTime, unit: Unit) -> Option<NaiveDateTime> {
    let date = moment.date();
    let start_of_month = |months: i32| {
        let since_0 = date.year() * 12 + date.month0() as i32;
        // The first century and millennium begin with year 1.
        let shift = if months > 120 { 12 } else { 0 };
        let first = (since_0 - shift).div_euclid(months) * months + shift;
        NaiveDate::from_ymd_opt(first.div_euclid(12), first.rem_euclid(12) as u32 + 1, 1)
    };
    let date = match unit {
        Unit::Day => Some(date),
        Unit::Week => date.checked_sub_days(Days::new(date.weekday().num_days_from_sunday().into())),
        _ => match unit.months() {
            Some(months) => start_of_month(months),
            None => return floor_clock(moment, unit),
        },
    };
    date.map(|date| date.and_time(NaiveTime::MIN))
}

fn floor_clock(moment: NaiveDateTime, unit: Unit) -> Option<NaiveDateTime> {
    let nanos =
        i64::from(moment.num_seconds_from_midnight()) * 1_000_000_000 + i64::from(moment.nanosecond());
    moment.checked_sub_signed(TimeDelta::nanoseconds(nanos % unit.nanos()?))
}

fn ceil_moment(moment: NaiveDateTime, unit: Unit) -> Option<NaiveDateTime> {
    let floor = floor_moment(moment, unit)?;
    if let Some(months) = unit.months() {
        return match floor.date() == moment.date() {
            true => Some(floor),
            false => floor.checked_add_months(Months::new(months as u32)),
        };
    }
    let reached = if unit == Unit::Week { floor.date() == moment.date() } else { floor == moment };
    if reached { Some(floor) } else { floor.checked_add_signed(TimeDelta::nanoseconds(unit.nanos()?)) }
}
