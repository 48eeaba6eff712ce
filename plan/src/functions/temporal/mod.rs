//! Dates, times, timestamps and intervals.

mod add;
mod clock;
mod difference;
mod extract;
mod format;
mod java_pattern;
mod parse;
mod round;
mod unit;
mod windows;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result, plan_err};

use super::{
    argument::Kind::{Any, Integer, Text},
    builtin::Builtin,
};

pub use clock::{
    PROCTIME, batch_functions as clock_batch_functions, for_each_batch, functions as clock_functions,
};

/// The temporal functions that have arguments.
pub fn functions() -> Vec<Builtin> {
    [fields(), arithmetic(), texts(), clock::row_functions(), window_borders()].concat()
}

fn fields() -> Vec<Builtin> {
    let field = |name, usage, doc, kernel| {
        Builtin::new(name, usage, doc, kernel).takes(&[Any]).returns(DataType::Int64)
    };
    vec![
        Builtin::new(
            "extract",
            "EXTRACT(unit FROM temporal)",
            "One field of a date, time, timestamp or interval, as BIGINT.",
            extract::extract,
        )
        .takes(&[Text, Any])
        .returns(DataType::Int64),
        field("year", "YEAR(date)", "The year.", extract::year),
        field("quarter", "QUARTER(date)", "The quarter, 1 to 4.", extract::quarter),
        field("month", "MONTH(date)", "The month, 1 to 12.", extract::month),
        field("week", "WEEK(date)", "The ISO week, 1 to 53.", extract::week),
        field("dayofyear", "DAYOFYEAR(date)", "The day of the year, from 1.", extract::day_of_year),
        field("dayofmonth", "DAYOFMONTH(date)", "The day of the month, from 1.", extract::day_of_month),
        field("dayofweek", "DAYOFWEEK(date)", "The day of the week; Sunday is 1.", extract::day_of_week),
        field("hour", "HOUR(timestamp)", "The hour, 0 to 23.", extract::hour),
        field("minute", "MINUTE(timestamp)", "The minute, 0 to 59.", extract::minute),
        field("second", "SECOND(timestamp)", "The second, 0 to 59.", extract::second),
        Builtin::internal("floor_time", round::floor).takes(&[Any, Text]).returns_by(first),
        Builtin::internal("ceil_time", round::ceil).takes(&[Any, Text]).returns_by(first),
    ]
}

/// The windows of a time: what describes them are constants.
fn window_borders() -> Vec<Builtin> {
    let millisecond = DataType::Timestamp(TimeUnit::Millisecond, None);
    let list = DataType::new_list(millisecond.clone(), true);
    let border = |name, kernel, returned: &DataType| {
        Builtin::internal(name, kernel)
            .takes(&[Any, Text, Integer, Integer, Integer])
            .returns(returned.clone())
    };
    vec![
        border("window_last_end", windows::last_end, &millisecond),
        border("window_ends", windows::ends, &list),
        border("window_start_of_end", windows::start, &millisecond),
        border("window_time_of_end", windows::time, &millisecond),
    ]
}

fn arithmetic() -> Vec<Builtin> {
    vec![
        Builtin::new(
            "timestampadd",
            "TIMESTAMPADD(unit, n, timepoint)",
            "The timepoint `n` units later.",
            add::timestampadd,
        )
        .takes(&[Text, Integer, Any])
        .returns_by(third),
        Builtin::internal("timestampadd_time", add::timestampadd)
            .takes(&[Text, Integer, Any])
            .returns_by(third_as_timestamp),
        Builtin::new(
            "timestampdiff",
            "TIMESTAMPDIFF(unit, from, to)",
            "Whole units between two timepoints.",
            difference::timestampdiff,
        )
        .takes(&[Text, Any, Any])
        .returns(DataType::Int32),
        Builtin::internal("overlaps", difference::overlaps)
            .takes(&[Any, Any, Any, Any])
            .returns(DataType::Boolean),
        Builtin::internal("time_plus", add::time_plus).takes(&[Any, Any]).returns_by(first),
        Builtin::internal("time_minus", add::time_minus).takes(&[Any, Any]).returns_by(first),
    ]
}

fn texts() -> Vec<Builtin> {
    let ltz = || DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    vec![
        Builtin::new("date_format", "DATE_FORMAT(timestamp | string, pattern)", "Written by a Java `DateTimeFormatter` pattern.", format::date_format)
            .takes(&[Any, Text]),
        Builtin::new("from_unixtime", "FROM_UNIXTIME(seconds [, pattern])", "Seconds since 1970 as text in the session's zone.", format::from_unixtime)
            .takes_at_least(1, &[Integer, Text]),
        Builtin::new("convert_tz", "CONVERT_TZ(string, from_zone, to_zone)", "A `yyyy-MM-dd HH:mm:ss` time of one zone in another.", format::convert_tz)
            .takes(&[Text, Text, Text]),
        Builtin::new(
            "unix_timestamp",
            "UNIX_TIMESTAMP([string [, pattern]])",
            "Seconds since 1970: now, or of a time in the session's zone; -9223372036854775808 if it cannot be read.",
            parse::unix_timestamp,
        )
        .takes_at_least(1, &[Text, Text])
        .returns(DataType::Int64),
        Builtin::new("to_date", "TO_DATE(string [, pattern])", "A date; NULL if it cannot be read.", parse::to_date)
            .takes_at_least(1, &[Text, Text])
            .returns(DataType::Date32),
        Builtin::new("to_timestamp", "TO_TIMESTAMP(string [, pattern])", "A TIMESTAMP(3); NULL if it cannot be read.", parse::to_timestamp)
            .takes_at_least(1, &[Text, Text])
            .returns(DataType::Timestamp(TimeUnit::Millisecond, None)),
        Builtin::new(
            "to_timestamp_ltz",
            "TO_TIMESTAMP_LTZ(number [, 0 | 3]), TO_TIMESTAMP_LTZ(string [, pattern [, zone]])",
            "An instant from seconds (0) or milliseconds (3) since 1970, or from text (in UTC unless a zone is given).",
            parse::to_timestamp_ltz,
        )
        .takes_checked(parse::to_timestamp_ltz_arguments)
        .returns(ltz()),
    ]
}

fn first(types: &[DataType]) -> Result<DataType> {
    types.first().map_or_else(|| plan_err!("an argument is missing"), |first| Ok(first.clone()))
}

fn third(types: &[DataType]) -> Result<DataType> {
    types.get(2).map_or_else(|| plan_err!("an argument is missing"), |third| Ok(third.clone()))
}

/// Adding hours to a date gives a timestamp.
fn third_as_timestamp(types: &[DataType]) -> Result<DataType> {
    third(types).map(|third| match third {
        DataType::Date32 => DataType::Timestamp(TimeUnit::Microsecond, None),
        other => other,
    })
}
