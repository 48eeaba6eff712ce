//! Timepoints from text and numbers.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, TimestampMillisecondArray},
    datatypes::{DataType, Date32Type, Int64Type},
};
use chrono::NaiveDateTime;
use datafusion::common::{Result, exec_err, plan_err};

use super::java_pattern::{Parsed, Patterns};
use crate::functions::{
    argument::{Call, Kind, numbers},
    conversion::{parse_date, parse_timestamp},
    moment::{days_of, timestamps},
    zone::Zone,
};

/// `TO_DATE(string [, pattern])`
pub fn to_date(call: &Call) -> Result<ArrayRef> {
    let mut read = reader(call, |text| parse_date(text).map(Parsed::local))?;
    numbers::<Date32Type>(call.rows, |row| Ok(read(row)?.map(|parsed| days_of(parsed.local))))
}

/// `TO_TIMESTAMP(string [, pattern])`
pub fn to_timestamp(call: &Call) -> Result<ArrayRef> {
    let mut read = reader(call, |text| parse_timestamp(text).map(Parsed::local))?;
    timestamps(call.return_type, Zone::UTC, call.rows, |row| Ok(read(row)?.map(|parsed| parsed.local)))
}

/// `UNIX_TIMESTAMP(string [, pattern])`
pub fn unix_timestamp(call: &Call) -> Result<ArrayRef> {
    let zone = Zone::of_session(call.config);
    let text = call.text(0)?;
    let mut read = reader(call, |text| parse_timestamp(text).map(Parsed::local))?;
    numbers::<Int64Type>(call.rows, |row| {
        if text.get(row).is_none() {
            return Ok(None);
        }
        let seconds = |instant: NaiveDateTime| instant.and_utc().timestamp();
        Ok(Some(read(row)?.map_or(i64::MIN, |parsed| seconds(parsed.instant(zone)))))
    })
}

/// What [`to_timestamp_ltz`] takes.
pub fn to_timestamp_ltz_arguments(given: &[DataType]) -> Result<Vec<DataType>> {
    let kinds: &[Kind] = match given {
        [first, ..] if first.is_numeric() => {
            &[if first.is_integer() { Kind::Integer } else { Kind::Double }, Kind::Integer]
        }
        _ => &[Kind::Text, Kind::Text, Kind::Text],
    };
    let coerced: Option<Vec<_>> = given.iter().zip(kinds).map(|(given, kind)| kind.coerce(given)).collect();
    match coerced {
        Some(coerced) if !given.is_empty() && given.len() <= kinds.len() => Ok(coerced),
        _ => plan_err!("wrong arguments"),
    }
}

/// `TO_TIMESTAMP_LTZ(number [, precision])`, `TO_TIMESTAMP_LTZ(string [, pattern [, zone]])`
pub fn to_timestamp_ltz(call: &Call) -> Result<ArrayRef> {
    if call.arguments[0].data_type().is_string() {
        return text_to_timestamp_ltz(call);
    }
    let counts = arrow::compute::cast(&call.column(0)?, &DataType::Float64)?;
    let whole = arrow::compute::cast(&call.column(0)?, &DataType::Int64)?;
    let (counts, whole) =
        (counts.as_primitive::<arrow::datatypes::Float64Type>(), whole.as_primitive::<Int64Type>());
    let is_whole = call.arguments[0].data_type().is_integer();
    let precision = call.has(1).then(|| call.integers(1)).transpose()?;
    let millis = (0..call.rows).map(|row| {
        let precision = precision.as_ref().map_or(Some(3), |precision| precision.get(row));
        let (Some(precision), true) = (precision, arrow::array::Array::is_valid(counts, row)) else {
            return Ok(None);
        };
        match (precision, is_whole) {
            (0, true) => Ok(whole.value(row).checked_mul(1000)),
            (3, true) => Ok(Some(whole.value(row))),
            (0, false) => Ok(Some((counts.value(row) * 1000.0) as i64)),
            (3, false) => Ok(Some(counts.value(row) as i64)),
            _ => exec_err!(
                "TO_TIMESTAMP_LTZ takes 0 (seconds) or 3 (milliseconds) as precision, not {precision}"
            ),
        }
    });
    let millis: TimestampMillisecondArray = millis.collect::<Result<_>>()?;
    Ok(Arc::new(millis.with_timezone("UTC")))
}

/// Text without a zone is in UTC, in Flink too.
fn text_to_timestamp_ltz(call: &Call) -> Result<ArrayRef> {
    let zones = call.has(2).then(|| call.text(2)).transpose()?;
    let mut read = reader(call, |text| parse_timestamp(text).map(Parsed::local))?;
    timestamps(call.return_type, Zone::UTC, call.rows, |row| {
        let zone = match &zones {
            Some(zones) => zones.get(row).map(|name| Zone::named(name).unwrap_or(Zone::UTC)),
            None => Some(Zone::UTC),
        };
        Ok(read(row)?.zip(zone).map(|(parsed, zone)| parsed.instant(zone)))
    })
}

/// Reads the text of a row by the pattern of the second argument, or as `default` does if there is none.
fn reader<'a>(
    call: &'a Call<'a>,
    default: fn(&str) -> Option<Parsed>,
) -> Result<impl FnMut(usize) -> Result<Option<Parsed>> + 'a> {
    let text = call.text(0)?;
    let mut patterns = call.has(1).then(|| call.text(1)).transpose()?.map(Patterns::new);
    Ok(move |row| {
        let Some(text) = text.get(row) else { return Ok(None) };
        match &mut patterns {
            None => Ok(default(text)),
            Some(patterns) => Ok(patterns.get(row)?.and_then(|pattern| pattern.parse_text(text))),
        }
    })
}
