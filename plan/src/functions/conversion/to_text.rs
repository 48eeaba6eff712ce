//! Values of any type as text, the way that Flink's `CAST(... AS STRING)` writes them.

use std::fmt::Write;

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, MapArray, StructArray},
    datatypes::{
        DataType, Decimal128Type, Float32Type, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
        IntervalUnit, IntervalYearMonthType, TimeUnit,
    },
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::common::{Result, exec_err, plan_err};

use crate::functions::{
    argument::{Bytes, Text, type_name},
    moment::{Moments, write_date, write_time, write_timestamp},
    zone::Zone,
};

/// Writes the rows of a column.
#[derive(Debug)]
pub struct Writer {
    column: ArrayRef,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Boolean,
    Whole,
    Float,
    Double,
    Decimal,
    Text,
    Bytes,
    Date(Moments),
    Time(Moments, usize),
    Timestamp(Moments, usize),
    Months,
    Interval,
    List(Box<Writer>),
    Map(Box<Writer>, Box<Writer>),
    Row(Vec<Writer>),
}

impl Writer {
    /// A writer of the column's rows.
    pub fn of(column: &ArrayRef, zone: Zone) -> Result<Writer> {
        let moments = || Moments::of(column, zone);
        let shape = match column.data_type() {
            DataType::Boolean => Shape::Boolean,
            DataType::Float32 => Shape::Float,
            DataType::Float64 => Shape::Double,
            DataType::Decimal128(..) => Shape::Decimal,
            DataType::Date32 => Shape::Date(moments()?),
            DataType::Time32(unit) | DataType::Time64(unit) => Shape::Time(moments()?, digits(*unit)),
            DataType::Timestamp(unit, _) => Shape::Timestamp(moments()?, digits(*unit)),
            DataType::Interval(IntervalUnit::YearMonth) => Shape::Months,
            DataType::Interval(IntervalUnit::MonthDayNano) => Shape::Interval,
            DataType::List(_) => Shape::List(Box::new(Writer::of(column.as_list::<i32>().values(), zone)?)),
            DataType::Map(..) => {
                let map: &MapArray = column.as_map();
                Shape::Map(Box::new(Writer::of(map.keys(), zone)?), Box::new(Writer::of(map.values(), zone)?))
            }
            DataType::Struct(_) => {
                let row: &StructArray = column.as_struct();
                Shape::Row(row.columns().iter().map(|field| Writer::of(field, zone)).collect::<Result<_>>()?)
            }
            other if other.is_integer() => Shape::Whole,
            other if other.is_string() => Shape::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Shape::Bytes,
            DataType::Null => Shape::Whole,
            other => return plan_err!("there is no cast from {} to STRING", type_name(other)),
        };
        Ok(Writer { column: ArrayRef::clone(column), shape })
    }

    /// Whether the row is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        self.column.is_null(row) || self.column.data_type().is_null()
    }

    /// Appends the text of a row that is not NULL.
    pub fn write(&self, row: usize, out: &mut String) -> Result<()> {
        match &self.shape {
            Shape::Boolean => {
                out.push_str(if self.column.as_boolean().value(row) { "TRUE" } else { "FALSE" })
            }
            Shape::Whole => {
                let formatter = ArrayFormatter::try_new(&self.column, &FormatOptions::new())?;
                let _ = write!(out, "{}", formatter.value(row));
            }
            Shape::Float => {
                let column: &Float32Array = self.column.as_primitive::<Float32Type>();
                write_float(column.value(row), out);
            }
            Shape::Double => {
                let column: &Float64Array = self.column.as_primitive::<Float64Type>();
                write_double(column.value(row), out);
            }
            Shape::Decimal => {
                let column: &Decimal128Array = self.column.as_primitive::<Decimal128Type>();
                out.push_str(&column.value_as_string(row));
            }
            Shape::Text => out.push_str(Text::of(&self.column)?.get(row).unwrap_or_default()),
            Shape::Bytes => {
                let bytes = Bytes::of(&self.column)?.get(row).unwrap_or_default();
                out.push_str(&String::from_utf8_lossy(bytes));
            }
            Shape::Date(moments) => moments.get(row)?.into_iter().for_each(|moment| write_date(moment, out)),
            Shape::Time(moments, digits) => {
                // TIME is TIME(0) nearly always: a fraction shows only where there is one.
                moments.get(row)?.into_iter().for_each(|moment| {
                    let whole = chrono::Timelike::nanosecond(&moment) == 0;
                    write_time(moment, if whole { 0 } else { *digits }, out);
                });
            }
            Shape::Timestamp(moments, digits) => {
                moments.get(row)?.into_iter().for_each(|moment| write_timestamp(moment, *digits, out));
            }
            Shape::Months => {
                write_months(self.column.as_primitive::<IntervalYearMonthType>().value(row), out)
            }
            Shape::Interval => {
                write_interval(self.column.as_primitive::<IntervalMonthDayNanoType>().value(row), out)?
            }
            Shape::List(items) => {
                let offsets = self.column.as_list::<i32>().value_offsets();
                write_joined(
                    ['[', ']'],
                    offsets[row] as usize..offsets[row + 1] as usize,
                    out,
                    |item, out| items.write_or_null(item, out),
                )?;
            }
            Shape::Map(keys, values) => {
                let offsets = self.column.as_map().value_offsets();
                write_joined(
                    ['{', '}'],
                    offsets[row] as usize..offsets[row + 1] as usize,
                    out,
                    |item, out| {
                        keys.write_or_null(item, out)?;
                        out.push('=');
                        values.write_or_null(item, out)
                    },
                )?;
            }
            Shape::Row(fields) => {
                write_joined(['(', ')'], 0..fields.len(), out, |field, out| {
                    fields[field].write_or_null(row, out)
                })?;
            }
        }
        Ok(())
    }

    fn write_or_null(&self, row: usize, out: &mut String) -> Result<()> {
        if self.is_null(row) {
            out.push_str("NULL");
            return Ok(());
        }
        self.write(row, out)
    }
}

fn write_joined(
    [open, close]: [char; 2],
    items: std::ops::Range<usize>,
    out: &mut String,
    mut write: impl FnMut(usize, &mut String) -> Result<()>,
) -> Result<()> {
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(item, out)?;
    }
    out.push(close);
    Ok(())
}

/// Digits of fraction that a unit counts.
fn digits(unit: TimeUnit) -> usize {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Writes a number as Java's `Double.toString` does: `1.0`, `1.0E20`.
pub fn write_double(value: f64, out: &mut String) {
    write_real(
        value,
        value.abs() == 0.0 || (1e-3..1e7).contains(&value.abs()),
        &format!("{value}"),
        &format!("{value:e}"),
        out,
    );
}

/// Writes a number as Java's `Float.toString` does.
pub fn write_float(value: f32, out: &mut String) {
    write_real(
        value.into(),
        value == 0.0 || (1e-3..1e7).contains(&value.abs()),
        &format!("{value}"),
        &format!("{value:e}"),
        out,
    );
}

fn write_real(value: f64, plainly: bool, plain: &str, scientific: &str, out: &mut String) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else if plainly {
        out.push_str(plain);
        if !plain.contains('.') {
            out.push_str(".0");
        }
    } else {
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
        out.push_str(mantissa);
        out.push_str(if mantissa.contains('.') { "E" } else { ".0E" });
        out.push_str(exponent);
    }
}

fn write_months(months: i32, out: &mut String) {
    let (sign, months) = (if months < 0 { '-' } else { '+' }, months.unsigned_abs());
    let _ = write!(out, "{sign}{}-{:02}", months / 12, months % 12);
}

fn write_interval(interval: IntervalMonthDayNano, out: &mut String) -> Result<()> {
    if interval.days == 0 && interval.nanoseconds == 0 && interval.months != 0 {
        write_months(interval.months, out);
        return Ok(());
    }
    if interval.months != 0 {
        return exec_err!("an interval of both months and days has no text: {interval:?}");
    }
    let millis = i64::from(interval.days) * 86_400_000 + interval.nanoseconds / 1_000_000;
    let (sign, millis) = (if millis < 0 { '-' } else { '+' }, millis.unsigned_abs());
    let (seconds, fraction) = (millis / 1000, millis % 1000);
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    let _ =
        write!(out, "{sign}{} {hours:02}:{minutes:02}:{:02}.{fraction:03}", seconds / 86_400, seconds % 60);
    Ok(())
}
