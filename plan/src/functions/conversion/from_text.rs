//! Text as values of other types.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Decimal128Array},
    datatypes::{
        DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        Time32MillisecondType,
    },
};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use datafusion::common::{Result, plan_err};

use super::{Session, decimal::parse_decimal};
use crate::functions::{
    argument::{Text, booleans, numbers, type_name},
    moment::{days_of, timestamps},
};

/// Converts a column of text.
pub fn cast(column: &ArrayRef, target: &DataType, session: &Session) -> Result<ArrayRef> {
    let (text, rows) = (Text::of(column)?, column.len());
    /// Reads each row with one parser.
    macro_rules! read {
        ($build:expr, $parse:expr) => {
            $build(rows, |row| {
                let Some(text) = text.get(row) else { return Ok(None) };
                session.settle($parse(text), text, target)
            })
        };
    }
    match target {
        DataType::Boolean => read!(booleans, parse_boolean),
        DataType::Int8 => read!(numbers::<Int8Type>, parse_whole::<i8>),
        DataType::Int16 => read!(numbers::<Int16Type>, parse_whole::<i16>),
        DataType::Int32 => read!(numbers::<Int32Type>, parse_whole::<i32>),
        DataType::Int64 => read!(numbers::<Int64Type>, parse_whole::<i64>),
        DataType::Float32 => {
            read!(numbers::<Float32Type>, |text| parse_double(text).map(|value| value as f32))
        }
        DataType::Float64 => read!(numbers::<Float64Type>, parse_double),
        DataType::Date32 => read!(numbers::<Date32Type>, |text: &str| parse_date(text).map(days_of)),
        DataType::Time32(_) | DataType::Time64(_) => {
            let times = read!(numbers::<Time32MillisecondType>, |text: &str| {
                let time = parse_time(text.trim())?;
                Some((time.num_seconds_from_midnight() * 1000 + time.nanosecond() / 1_000_000) as i32)
            })?;
            Ok(arrow::compute::cast(&times, target)?)
        }
        DataType::Timestamp(..) => timestamps(target, session.zone, rows, |row| {
            let Some(text) = text.get(row) else { return Ok(None) };
            session.settle(parse_timestamp(text), text, target)
        }),
        DataType::Decimal128(precision, scale) => {
            let values = (0..rows).map(|row| {
                let Some(text) = text.get(row) else { return Ok(None) };
                session.settle(parse_decimal(text, *precision, *scale), text, target)
            });
            let values: Decimal128Array = values.collect::<Result<_>>()?;
            Ok(Arc::new(values.with_precision_and_scale(*precision, *scale)?))
        }
        _ => plan_err!("there is no cast from STRING to {}", type_name(target)),
    }
}

fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a whole number; a fraction is allowed and cut off.
fn parse_whole<T: TryFrom<i64>>(text: &str) -> Option<T> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits_only = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let whole = if whole.is_empty() && !fraction.is_empty() { "0" } else { whole };
    digits_only.then(|| whole.parse::<i64>().ok()).flatten().and_then(|value| T::try_from(value).ok())
}

/// Reads a number as Java's `Double.parseDouble` does.
fn parse_double(text: &str) -> Option<f64> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    match digits {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(sign * f64::INFINITY),
        _ if digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') => {
            digits.trim_end_matches(['d', 'D', 'f', 'F']).parse::<f64>().ok().map(|value| sign * value)
        }
        _ => None,
    }
}

/// Reads `2020-01-05`, `2020-1-5`, `2020-01`, `2020`; what follows a space or `T` is ignored.
pub fn parse_date(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim();
    let date = text.split([' ', 'T']).next()?;
    let mut parts = date.splitn(3, '-').map(|part| digits(part, 4));
    let (year, month, day) =
        (parts.next()??, parts.next().unwrap_or(Some(1))?, parts.next().unwrap_or(Some(1))?);
    NaiveDate::from_ymd_opt(year as i32, month, day)?.and_hms_opt(0, 0, 0)
}

/// Reads `10:11:12.345`, `10:11`, `10`.
fn parse_time(text: &str) -> Option<NaiveTime> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.splitn(3, ':').map(|part| digits(part, 2));
    let (hour, minute, second) =
        (parts.next()??, parts.next().unwrap_or(Some(0))?, parts.next().unwrap_or(Some(0))?);
    NaiveTime::from_hms_nano_opt(hour, minute, second, parse_fraction(fraction)?)
}

/// Reads a date, or a date and a whole time: `2020-01-05 10:11:12.5`. A day that its month does not have is its last one.
pub fn parse_timestamp(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim();
    let (date, time) = text.split_once(' ').unwrap_or((text, "0:0:0"));
    let mut parts = date.splitn(3, '-').map(|part| digits(part, 4));
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let last_day = || {
        (28..=30)
            .rev()
            .filter(|_| (29..=31).contains(&day))
            .find_map(|day| NaiveDate::from_ymd_opt(year as i32, month, day))
    };
    let date = NaiveDate::from_ymd_opt(year as i32, month, day).or_else(last_day)?;
    let time = time.trim_start();
    (time.matches(':').count() == 2).then(|| parse_time(time)).flatten().map(|time| date.and_time(time))
}

fn digits(text: &str, most: usize) -> Option<u32> {
    let valid = (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten()
}

/// Nanoseconds from the digits after the point; those past the ninth are dropped.
fn parse_fraction(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = &text[..text.len().min(9)];
    match kept {
        "" => Some(0),
        _ => Some(kept.parse::<u32>().ok()? * 10_u32.pow(9 - kept.len() as u32)),
    }
}
