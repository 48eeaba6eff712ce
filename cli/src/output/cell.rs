//! One value as text, as Flink's client shows it: `2024-01-31 12:00:00.000`, `1.0E10`, `[1, 2]`, `{k=v}`, `(1, a)`.

use std::fmt::Write as _;

use arrow::{
    array::{Array, ArrayRef, AsArray, MapArray, StructArray},
    datatypes::{DataType, Float32Type, Float64Type, TimeUnit},
    error::ArrowError,
    util::display::{ArrayFormatter, DurationFormat, FormatOptions},
};
use chrono::DateTime;
use thalweg_plan::functions::zone::Zone;

/// Turns the values of one column into text.
pub struct Column<'a> {
    array: &'a dyn Array,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Scalar(ArrayFormatter<'a>),
    Boolean,
    Float,
    Double,
    LocalTimestamp(TimeUnit, Zone, ArrayRef),
    List(Box<Column<'a>>),
    Struct(Vec<Column<'a>>),
    Map(Box<Column<'a>>, Box<Column<'a>>),
}

impl<'a> Column<'a> {
    /// A column; `time_zone` is where `TIMESTAMP_LTZ` values are shown.
    pub fn new(array: &'a dyn Array, time_zone: Zone) -> Result<Self, ArrowError> {
        let kind = match array.data_type() {
            DataType::Boolean => Kind::Boolean,
            DataType::Float32 => Kind::Float,
            DataType::Float64 => Kind::Double,
            DataType::Timestamp(unit, Some(_)) => {
                let ticks = arrow::compute::cast(&array.slice(0, array.len()), &DataType::Int64)?;
                Kind::LocalTimestamp(*unit, time_zone, ticks)
            }
            DataType::List(_) => {
                Kind::List(Box::new(Column::new(array.as_list::<i32>().values().as_ref(), time_zone)?))
            }
            DataType::Struct(_) => Kind::Struct(fields(array.as_struct(), time_zone)?),
            DataType::Map(..) => {
                let map: &MapArray = array.as_map();
                let column = |array: &'a ArrayRef| Column::new(array.as_ref(), time_zone).map(Box::new);
                Kind::Map(column(map.keys())?, column(map.values())?)
            }
            other => Kind::Scalar(ArrayFormatter::try_new(array, &scalar_options(other))?),
        };
        Ok(Self { array, kind })
    }

    /// Appends the text of one value; `null` for NULL.
    pub fn append(&self, row: usize, null: &str, text: &mut String) {
        if self.array.is_null(row) {
            return text.push_str(null);
        }
        match &self.kind {
            Kind::Scalar(formatter) => {
                let _ = write!(text, "{}", formatter.value(row));
            }
            Kind::Boolean => text.push_str(if self.array.as_boolean().value(row) { "TRUE" } else { "FALSE" }),
            Kind::Float => {
                let value = self.array.as_primitive::<Float32Type>().value(row);
                append_float(f64::from(value), &format!("{value:e}"), text);
            }
            Kind::Double => {
                let value = self.array.as_primitive::<Float64Type>().value(row);
                append_float(value, &format!("{value:e}"), text);
            }
            Kind::LocalTimestamp(unit, time_zone, ticks) => {
                let ticks = ticks.as_primitive::<arrow::datatypes::Int64Type>().value(row);
                append_local_timestamp(ticks, *unit, *time_zone, text);
            }
            Kind::List(items) => {
                let offsets = self.array.as_list::<i32>().value_offsets();
                let items =
                    (offsets[row] as usize..offsets[row + 1] as usize).map(|item| (items.as_ref(), item));
                append_all(items, ("[", "]"), text);
            }
            Kind::Struct(fields) => append_all(fields.iter().map(|field| (field, row)), ("(", ")"), text),
            Kind::Map(keys, values) => {
                let offsets = self.array.as_map().value_offsets();
                text.push('{');
                for entry in offsets[row] as usize..offsets[row + 1] as usize {
                    text.push_str(if entry > offsets[row] as usize { ", " } else { "" });
                    keys.append(entry, "NULL", text);
                    text.push('=');
                    values.append(entry, "NULL", text);
                }
                text.push('}');
            }
        }
    }
}

fn fields(array: &StructArray, time_zone: Zone) -> Result<Vec<Column<'_>>, ArrowError> {
    array.columns().iter().map(|column| Column::new(column.as_ref(), time_zone)).collect()
}

fn append_all<'a>(
    values: impl Iterator<Item = (&'a Column<'a>, usize)>,
    (open, close): (&str, &str),
    text: &mut String,
) {
    text.push_str(open);
    for (position, (column, row)) in values.enumerate() {
        text.push_str(if position > 0 { ", " } else { "" });
        column.append(row, "NULL", text);
    }
    text.push_str(close);
}

fn scalar_options(data_type: &DataType) -> FormatOptions<'static> {
    let (timestamp, time) = match data_type {
        DataType::Timestamp(unit, _) => (timestamp_format(*unit), "%H:%M:%S"),
        DataType::Time32(unit) | DataType::Time64(unit) => ("", time_format(*unit)),
        _ => ("", ""),
    };
    FormatOptions::new()
        .with_display_error(true)
        .with_duration_format(DurationFormat::Pretty)
        .with_timestamp_format(Some(timestamp).filter(|format| !format.is_empty()))
        .with_time_format(Some(time).filter(|format| !format.is_empty()))
}

fn timestamp_format(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "%Y-%m-%d %H:%M:%S",
        TimeUnit::Millisecond => "%Y-%m-%d %H:%M:%S%.3f",
        TimeUnit::Microsecond => "%Y-%m-%d %H:%M:%S%.6f",
        TimeUnit::Nanosecond => "%Y-%m-%d %H:%M:%S%.9f",
    }
}

fn time_format(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "%H:%M:%S",
        TimeUnit::Millisecond => "%H:%M:%S%.3f",
        TimeUnit::Microsecond => "%H:%M:%S%.6f",
        TimeUnit::Nanosecond => "%H:%M:%S%.9f",
    }
}

fn append_local_timestamp(ticks: i64, unit: TimeUnit, time_zone: Zone, text: &mut String) {
    let instant = match unit {
        TimeUnit::Second => DateTime::from_timestamp(ticks, 0),
        TimeUnit::Millisecond => DateTime::from_timestamp_millis(ticks),
        TimeUnit::Microsecond => DateTime::from_timestamp_micros(ticks),
        TimeUnit::Nanosecond => Some(DateTime::from_timestamp_nanos(ticks)),
    };
    match instant {
        Some(instant) => {
            let _ = write!(text, "{}", time_zone.local(instant.naive_utc()).format(timestamp_format(unit)));
        }
        None => {
            let _ = write!(text, "<out of range: {ticks}>");
        }
    }
}

/// Appends a number as Java writes it, which scripts compare with: plain from 0.001 to 10,000,000, else `1.0E10`. `scientific` is
/// its shortest form that reads back the same: `1.2345e4`.
fn append_float(value: f64, scientific: &str, text: &mut String) {
    if !value.is_finite() {
        let word = if value.is_nan() { "NaN" } else { "Infinity" };
        return text.push_str(&[if value < 0.0 { "-" } else { "" }, word].concat());
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let plain = value == 0.0 || (1e-3..1e7).contains(&value.abs());
    if !plain {
        let fraction = if mantissa.contains('.') { "" } else { ".0" };
        let _ = write!(text, "{mantissa}{fraction}E{exponent}");
        return;
    }
    let digits_after = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i64);
    let places = digits_after - exponent.parse::<i64>().unwrap_or(0);
    let _ = write!(text, "{value:.*}", places.max(1) as usize);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Float32Array, Float64Array, Int32Array, ListArray, StringArray,
        TimestampMillisecondArray,
    };
    use arrow::datatypes::{Field, Int32Type};

    use super::*;

    fn texts(array: &dyn Array) -> Vec<String> {
        let column = Column::new(array, Zone::named("Europe/Berlin").unwrap()).unwrap();
        let text = |row| {
            let mut text = String::new();
            column.append(row, "<NULL>", &mut text);
            text
        };
        (0..array.len()).map(text).collect()
    }

    #[test]
    fn numbers_are_written_as_java_does() {
        let values = [0.0, -0.0, 1.0, 0.1, 1234567.5, 1e7, 1.25e10, 1e-3, 9e-4, f64::NAN, f64::NEG_INFINITY];
        let expected = [
            "0.0",
            "-0.0",
            "1.0",
            "0.1",
            "1234567.5",
            "1.0E7",
            "1.25E10",
            "0.001",
            "9.0E-4",
            "NaN",
            "-Infinity",
        ];
        assert_eq!(texts(&Float64Array::from(values.to_vec())), expected);
        assert_eq!(texts(&Float32Array::from(vec![0.1, 16_777_216.0])), ["0.1", "1.6777216E7"]);
    }

    #[test]
    fn scalars_and_null() {
        assert_eq!(texts(&BooleanArray::from(vec![Some(true), None])), ["TRUE", "<NULL>"]);
        let plain = TimestampMillisecondArray::from(vec![1_706_702_400_123]);
        assert_eq!(texts(&plain), ["2024-01-31 12:00:00.123"]);
        assert_eq!(texts(&plain.with_timezone("UTC")), ["2024-01-31 13:00:00.123"]);
    }

    #[test]
    fn nested_values() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        assert_eq!(texts(&list), ["[1, NULL]", "<NULL>", "[]"]);
        let row = StructArray::from(vec![
            (
                Arc::new(Field::new("a", DataType::Int32, true)),
                Arc::new(Int32Array::from(vec![1])) as ArrayRef,
            ),
            (
                Arc::new(Field::new("b", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec!["x"])) as ArrayRef,
            ),
        ]);
        assert_eq!(texts(&row), ["(1, x)"]);
    }
}
