//! `ROUND`, `TRUNCATE`, `FLOOR`, `CEIL`. Floating numbers are rounded as the decimals that they are written as, so that
//! `ROUND(1.005, 2)` is 1.01.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray},
    datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int64Type},
};
use datafusion::{
    common::{Result, ScalarValue, plan_err},
    logical_expr::ReturnFieldArgs,
};

use crate::functions::{
    argument::{Call, numbers, type_name},
    conversion::{self, fits},
    zone::Zone,
};

/// Type of a rounded number: a decimal loses digits after the point, and may get one more before it.
pub fn rounded_type(arguments: &ReturnFieldArgs) -> Result<DataType> {
    cut_type(arguments, 1)
}

/// Type of a truncated number.
pub fn truncated_type(arguments: &ReturnFieldArgs) -> Result<DataType> {
    cut_type(arguments, 1)
}

fn cut_type(arguments: &ReturnFieldArgs, carry: i32) -> Result<DataType> {
    let given = arguments.arg_fields.first().map(|field| field.data_type().clone());
    let Some(DataType::Decimal128(precision, scale)) = given else {
        return given.map_or_else(|| plan_err!("a number is missing"), Ok);
    };
    let digits = match arguments.scalar_arguments.get(1) {
        None => 0,
        Some(digits) => match digits.map(|digits| digits.cast_to(&DataType::Int64)).transpose()? {
            Some(ScalarValue::Int64(Some(digits))) => digits,
            _ => return Ok(DataType::Decimal128(precision, scale)),
        },
    };
    let (precision, scale) = (i32::from(precision), i32::from(scale));
    if digits >= i64::from(scale) {
        return Ok(DataType::Decimal128(precision as u8, scale as i8));
    }
    let kept = digits.max(0) as i32;
    Ok(DataType::Decimal128((precision - scale + kept + carry).clamp(1, 38) as u8, kept as i8))
}

/// Type of a whole number: without digits after the point.
pub fn whole_type(types: &[DataType]) -> Result<DataType> {
    match types {
        [DataType::Decimal128(precision, scale)] if *scale > 0 => {
            Ok(DataType::Decimal128((*precision as i8 - scale + 1).clamp(1, 38) as u8, 0))
        }
        [other] => Ok(other.clone()),
        _ => plan_err!("one number is needed"),
    }
}

/// `ROUND(number [, digits])`
pub fn round(call: &Call) -> Result<ArrayRef> {
    cut(call, Mode::HalfUp)
}

/// `TRUNCATE(number [, digits])`
pub fn truncate(call: &Call) -> Result<ArrayRef> {
    cut(call, Mode::Down)
}

/// `FLOOR(number)`
pub fn floor(call: &Call) -> Result<ArrayRef> {
    whole(call, Mode::Floor, f64::floor)
}

/// `CEIL(number)`
pub fn ceil(call: &Call) -> Result<ArrayRef> {
    whole(call, Mode::Ceiling, f64::ceil)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    HalfUp,
    Down,
    Floor,
    Ceiling,
}

impl Mode {
    /// Divides by a power of ten.
    fn divide(self, value: i128, unit: i128) -> i128 {
        let (quotient, remainder) = (value / unit, value % unit);
        quotient
            + match self {
                Mode::HalfUp if remainder.unsigned_abs() * 2 >= unit.unsigned_abs() => value.signum(),
                Mode::Floor if remainder < 0 => -1,
                Mode::Ceiling if remainder > 0 => 1,
                _ => 0,
            }
    }

    /// Keeps so many digits after the point of a number that has `scale` of them; the result has as many.
    fn keep(self, value: i128, scale: i32, digits: i64) -> Option<i128> {
        let dropped = i64::from(scale) - digits;
        match u32::try_from(dropped) {
            Err(_) | Ok(0) => Some(value),
            Ok(39..) => Some(0),
            Ok(dropped) => {
                let unit = 10_i128.pow(dropped.min(38));
                self.divide(value, unit).checked_mul(unit)
            }
        }
    }
}

fn cut(call: &Call, mode: Mode) -> Result<ArrayRef> {
    let column = call.column(0)?;
    let digits = call.has(1).then(|| call.integers(1)).transpose()?;
    let digits_at = |row: usize| digits.as_ref().map_or(Some(0), |digits| digits.get(row));
    match column.data_type() {
        DataType::Decimal128(_, scale) => {
            let values = column.as_primitive::<Decimal128Type>();
            let scale = i32::from(*scale);
            decimals(
                call,
                |row| {
                    let both = arrow::array::Array::is_valid(values, row)
                        .then(|| values.value(row))
                        .zip(digits_at(row));
                    both.and_then(|(value, digits)| mode.keep(value, scale, digits))
                },
                scale,
            )
        }
        DataType::Float32 | DataType::Float64 => {
            let doubles = arrow::compute::cast(&column, &DataType::Float64)?;
            let (doubles, single) =
                (doubles.as_primitive::<Float64Type>(), column.data_type() == &DataType::Float32);
            let rounded = numbers::<Float64Type>(call.rows, |row| {
                let both = arrow::array::Array::is_valid(doubles, row)
                    .then(|| doubles.value(row))
                    .zip(digits_at(row));
                Ok(both.map(|(value, digits)| round_floating(value, single, digits, mode)))
            })?;
            Ok(arrow::compute::cast(&rounded, call.return_type)?)
        }
        other if other.is_integer() => {
            let wide = arrow::compute::cast(&column, &DataType::Int64)?;
            let wide = wide.as_primitive::<Int64Type>();
            let rounded = numbers::<Int64Type>(call.rows, |row| {
                let both =
                    arrow::array::Array::is_valid(wide, row).then(|| wide.value(row)).zip(digits_at(row));
                Ok(both
                    .and_then(|(value, digits)| mode.keep(value.into(), 0, digits))
                    .map(|value| value as i64))
            })?;
            conversion::cast(
                &rounded,
                call.return_type,
                &conversion::Session { zone: Zone::UTC, lenient: false },
            )
        }
        other => plan_err!("cannot round {}", type_name(other)),
    }
}

/// Rounds the shortest decimal that stands for the number.
fn round_floating(value: f64, single: bool, digits: i64, mode: Mode) -> f64 {
    if !value.is_finite() || value.abs() >= 1e15 {
        return value;
    }
    let text = if single { (value as f32).to_string() } else { value.to_string() };
    let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i32);
    let rounded = conversion::parse_decimal(&text, 38, scale.min(38) as i8)
        .and_then(|number| mode.keep(number, scale, digits));
    match rounded {
        Some(number) if scale <= 38 => format!("{number}e-{scale}").parse().unwrap_or(value),
        _ => value,
    }
}

fn whole(call: &Call, mode: Mode, floating: fn(f64) -> f64) -> Result<ArrayRef> {
    let column = call.column(0)?;
    Ok(match column.data_type() {
        DataType::Decimal128(_, scale) => {
            let values = column.as_primitive::<Decimal128Type>();
            let scale = i32::from(*scale);
            return decimals(
                call,
                |row| {
                    let value = arrow::array::Array::is_valid(values, row).then(|| values.value(row));
                    value.and_then(|value| mode.keep(value, scale, 0))
                },
                scale,
            );
        }
        DataType::Float64 => Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(floating)),
        DataType::Float32 => {
            let floating = |value: f32| floating(value.into()) as f32;
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(floating))
        }
        _ => column,
    })
}

/// Builds a decimal column of the call's type from values with `scale` digits after the point.
fn decimals(call: &Call, value: impl Fn(usize) -> Option<i128>, scale: i32) -> Result<ArrayRef> {
    let DataType::Decimal128(precision, kept) = call.return_type else {
        return plan_err!("rounding a decimal gives a decimal");
    };
    let unit = 10_i128.pow((scale - i32::from(*kept)).max(0) as u32);
    let values = numbers::<Decimal128Type>(call.rows, |row| {
        Ok(value(row).map(|value| value / unit).filter(|value| fits(*value, *precision)))
    })?;
    Ok(Arc::new(values.as_primitive::<Decimal128Type>().clone().with_precision_and_scale(*precision, *kept)?))
}
