//! Dates, times and timestamps of any Arrow type, row by row as calendar values.

use std::{fmt::Write, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, Int64Array, PrimitiveArray},
    datatypes::{
        DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
};
use chrono::{DateTime, Datelike, NaiveDateTime, Timelike};
use datafusion::common::{Result, cast::as_int64_array, exec_datafusion_err, plan_err};

use super::{argument::type_name, zone::Zone};

/// A column of dates, times or timestamps. A `TIMESTAMP_LTZ` shows as the clocks of the zone do, a time as one of 1970-01-01.
#[derive(Debug)]
pub struct Moments {
    values: ArrayRef,
    per_second: Option<i64>,
    zone: Option<Zone>,
}

impl Moments {
    /// The moments of a column.
    pub fn of(column: &ArrayRef, zone: Zone) -> Result<Self> {
        let per_second = match column.data_type() {
            DataType::Date32 => None,
            DataType::Timestamp(unit, _) | DataType::Time32(unit) | DataType::Time64(unit) => {
                Some(per_second(*unit))
            }
            other => return plan_err!("{} is no date, time or timestamp", type_name(other)),
        };
        let zoned = matches!(column.data_type(), DataType::Timestamp(_, Some(_)));
        let values = match column.data_type() {
            DataType::Date32 | DataType::Time32(_) => arrow::compute::cast(column, &DataType::Int32)?,
            _ => Arc::clone(column),
        };
        let values = arrow::compute::cast(&values, &DataType::Int64)?;
        Ok(Self { values, per_second, zone: zoned.then_some(zone) })
    }

    /// What a row shows; nothing for NULL.
    pub fn get(&self, row: usize) -> Result<Option<NaiveDateTime>> {
        let values: &Int64Array = as_int64_array(&self.values)?;
        if values.is_null(row) {
            return Ok(None);
        }
        let value = values.value(row);
        let utc = match self.per_second {
            None => value.checked_mul(86_400).and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
            Some(per_second) => {
                let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
                DateTime::from_timestamp(value.div_euclid(per_second), nanos as u32)
            }
        };
        let utc = utc.ok_or_else(|| exec_datafusion_err!("timestamp out of range: {value}"))?.naive_utc();
        Ok(Some(self.zone.map_or(utc, |zone| zone.local(utc))))
    }
}

/// How many of a unit make a second.
pub fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// An instant as a count of units since 1970, rounded down.
pub fn count_of(instant: NaiveDateTime, unit: TimeUnit) -> Result<i64> {
    let per_second = per_second(unit);
    let seconds = instant.and_utc().timestamp().checked_mul(per_second);
    let fraction = i64::from(instant.nanosecond()) / (1_000_000_000 / per_second);
    seconds
        .and_then(|seconds| seconds.checked_add(fraction))
        .ok_or_else(|| exec_datafusion_err!("`{instant}` does not fit a timestamp counted in {unit}s"))
}

/// Days since 1970.
pub fn days_of(moment: NaiveDateTime) -> i32 {
    moment.date().num_days_from_ce() - 719_163
}

/// Builds a column of timestamps of `data_type` from what the clocks show (for `TIMESTAMP_LTZ`: those of the zone).
pub fn timestamps(
    data_type: &DataType,
    zone: Zone,
    rows: usize,
    mut value: impl FnMut(usize) -> Result<Option<NaiveDateTime>>,
) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, zone_name) = data_type else {
        return plan_err!("{} is no timestamp", type_name(data_type));
    };
    let counts = (0..rows).map(|row| {
        let instant = value(row)?.map(|local| if zone_name.is_some() { zone.instant(local) } else { local });
        instant.map(|instant| count_of(instant, *unit)).transpose()
    });
    let counts: Int64Array = counts.collect::<Result<_>>()?;
    Ok(match unit {
        TimeUnit::Second => {
            Arc::new(counts.reinterpret_cast::<TimestampSecondType>().with_timezone_opt(zone_name.clone()))
        }
        TimeUnit::Millisecond => Arc::new(
            counts.reinterpret_cast::<TimestampMillisecondType>().with_timezone_opt(zone_name.clone()),
        ),
        TimeUnit::Microsecond => Arc::new(
            counts.reinterpret_cast::<TimestampMicrosecondType>().with_timezone_opt(zone_name.clone()),
        ),
        TimeUnit::Nanosecond => {
            let counts: PrimitiveArray<TimestampNanosecondType> = counts.reinterpret_cast();
            Arc::new(counts.with_timezone_opt(zone_name.clone()))
        }
    })
}

/// Writes `2020-01-05 10:11:12` with so many digits of fraction.
pub fn write_timestamp(moment: NaiveDateTime, digits: usize, out: &mut String) {
    write_date(moment, out);
    out.push(' ');
    write_time(moment, digits, out);
}

/// Writes `2020-01-05`.
pub fn write_date(moment: NaiveDateTime, out: &mut String) {
    let _ = write!(out, "{:04}-{:02}-{:02}", moment.year(), moment.month(), moment.day());
}

/// Writes `10:11:12` with so many digits of fraction.
pub fn write_time(moment: NaiveDateTime, digits: usize, out: &mut String) {
    let _ = write!(out, "{:02}:{:02}:{:02}", moment.hour(), moment.minute(), moment.second());
    if digits > 0 {
        let _ = write!(out, ".{:0digits$}", moment.nanosecond() / 10_u32.pow(9 - digits as u32));
    }
}
