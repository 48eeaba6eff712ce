//! Timepoints as text.

use arrow::array::ArrayRef;
use chrono::DateTime;
use datafusion::common::{Result, exec_datafusion_err};

use super::java_pattern::{Pattern, Patterns};
use crate::functions::{
    argument::{Call, texts},
    conversion::parse_timestamp,
    moment::{Moments, write_timestamp},
    zone::Zone,
};

/// `DATE_FORMAT(timestamp | string, pattern)`
pub fn date_format(call: &Call) -> Result<ArrayRef> {
    let mut patterns = Patterns::new(call.text(1)?);
    let zone = Zone::of_session(call.config);
    let of_text = call.arguments[0].data_type().is_string();
    let text = of_text.then(|| call.text(0)).transpose()?;
    let moments = match of_text {
        true => None,
        false => Some(Moments::of(&call.column(0)?, zone)?),
    };
    texts(call.rows, |row, out| {
        let moment = match (&text, &moments) {
            (Some(text), _) => text.get(row).filter(|text| text.contains(':')).and_then(parse_timestamp),
            (None, Some(moments)) => moments.get(row)?,
            (None, None) => None,
        };
        let (Some(moment), Some(pattern)) = (moment, patterns.get(row)?) else { return Ok(None) };
        pattern.format(moment, None, out).map(Some)
    })
}

/// `FROM_UNIXTIME(seconds [, pattern])`
pub fn from_unixtime(call: &Call) -> Result<ArrayRef> {
    let seconds = call.integers(0)?;
    let default = Pattern::parse("yyyy-MM-dd HH:mm:ss")?;
    let mut patterns = call.has(1).then(|| call.text(1)).transpose()?.map(Patterns::new);
    let zone = Zone::of_session(call.config);
    texts(call.rows, |row, out| {
        let Some(seconds) = seconds.get(row) else { return Ok(None) };
        let pattern = match &mut patterns {
            Some(patterns) => patterns.get(row)?,
            None => Some(&default),
        };
        let Some(pattern) = pattern else { return Ok(None) };
        let instant = DateTime::from_timestamp(seconds, 0);
        let instant = instant
            .ok_or_else(|| exec_datafusion_err!("FROM_UNIXTIME: {seconds} seconds are out of range"))?;
        pattern.format(zone.local(instant.naive_utc()), Some(zone), out).map(Some)
    })
}

/// `CONVERT_TZ(string, from_zone, to_zone)`: NULL if the time cannot be read; a zone that is not known is UTC.
pub fn convert_tz(call: &Call) -> Result<ArrayRef> {
    let (text, from, to) = (call.text(0)?, call.text(1)?, call.text(2)?);
    texts(call.rows, |row, out| {
        let (Some(text), Some(from), Some(to)) = (text.get(row), from.get(row), to.get(row)) else {
            return Ok(None);
        };
        let zone = |name| Zone::named(name).unwrap_or(Zone::UTC);
        let moment = parse_timestamp(text).map(|local| zone(to).local(zone(from).instant(local)));
        Ok(moment.map(|moment| write_timestamp(moment, 0, out)))
    })
}
