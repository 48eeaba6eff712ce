//! Functions of a number or two.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Float64Array},
    datatypes::{
        DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    },
};
use datafusion::common::{Result, plan_err};

use crate::functions::{
    argument::{Call, numbers, type_name},
    conversion,
    zone::Zone,
};

/// `SQRT(number)`
pub fn sqrt(call: &Call) -> Result<ArrayRef> {
    each(call, f64::sqrt)
}

/// `ASIN(number)`
pub fn asin(call: &Call) -> Result<ArrayRef> {
    each(call, f64::asin)
}

/// `ACOS(number)`
pub fn acos(call: &Call) -> Result<ArrayRef> {
    each(call, f64::acos)
}

/// `COT(number)`
pub fn cot(call: &Call) -> Result<ArrayRef> {
    each(call, |value| 1.0 / value.tan())
}

fn each(call: &Call, function: fn(f64) -> f64) -> Result<ArrayRef> {
    let values = call.doubles(0)?;
    numbers::<Float64Type>(call.rows, |row| Ok(values.get(row).map(function)))
}

/// `POWER(base, exponent)`
pub fn power(call: &Call) -> Result<ArrayRef> {
    let (bases, exponents) = (call.doubles(0)?, call.doubles(1)?);
    numbers::<Float64Type>(call.rows, |row| {
        Ok(bases.get(row).zip(exponents.get(row)).map(|(base, by)| base.powf(by)))
    })
}

/// `E()`
pub fn e(call: &Call) -> Result<ArrayRef> {
    Ok(Arc::new(Float64Array::from_value(std::f64::consts::E, call.rows)))
}

/// `ABS(number)`
pub fn abs(call: &Call) -> Result<ArrayRef> {
    let column = call.column(0)?;
    Ok(match column.data_type() {
        DataType::Int8 => Arc::new(column.as_primitive::<Int8Type>().unary::<_, Int8Type>(i8::wrapping_abs)),
        DataType::Int16 => {
            Arc::new(column.as_primitive::<Int16Type>().unary::<_, Int16Type>(i16::wrapping_abs))
        }
        DataType::Int32 => {
            Arc::new(column.as_primitive::<Int32Type>().unary::<_, Int32Type>(i32::wrapping_abs))
        }
        DataType::Int64 => {
            Arc::new(column.as_primitive::<Int64Type>().unary::<_, Int64Type>(i64::wrapping_abs))
        }
        DataType::Float32 => Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::abs)),
        DataType::Float64 => Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::abs)),
        DataType::Decimal128(precision, scale) => {
            let values =
                column.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(i128::wrapping_abs);
            Arc::new(values.with_precision_and_scale(*precision, *scale)?)
        }
        other => return plan_err!("ABS of {} is not supported", type_name(other)),
    })
}

/// `SIGN(number)`
pub fn sign(call: &Call) -> Result<ArrayRef> {
    let column = call.column(0)?;
    Ok(match column.data_type() {
        DataType::Int8 => Arc::new(column.as_primitive::<Int8Type>().unary::<_, Int8Type>(i8::signum)),
        DataType::Int16 => Arc::new(column.as_primitive::<Int16Type>().unary::<_, Int16Type>(i16::signum)),
        DataType::Int32 => Arc::new(column.as_primitive::<Int32Type>().unary::<_, Int32Type>(i32::signum)),
        DataType::Int64 => Arc::new(column.as_primitive::<Int64Type>().unary::<_, Int64Type>(i64::signum)),
        DataType::Float32 => {
            let sign = |value: f32| if value == 0.0 { value } else { value.signum() };
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(sign))
        }
        DataType::Float64 => {
            let sign = |value: f64| if value == 0.0 { value } else { value.signum() };
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(sign))
        }
        DataType::Decimal128(precision, scale) => {
            let one = 10_i128.pow(u32::from(scale.unsigned_abs()));
            let values = column.as_primitive::<Decimal128Type>();
            let signs = values.unary::<_, Decimal128Type>(|value| value.signum() * one);
            Arc::new(signs.with_precision_and_scale(*precision, *scale)?)
        }
        other => return plan_err!("SIGN of {} is not supported", type_name(other)),
    })
}

/// The type of `MOD`: that of the divisor, among whole numbers.
pub fn modulo_type(types: &[DataType]) -> Result<DataType> {
    let [number, divisor] = types else { return plan_err!("MOD takes two numbers") };
    if number.is_integer() && divisor.is_integer() {
        return Ok(divisor.clone());
    }
    let scale = |data_type: &DataType| match data_type {
        DataType::Decimal128(precision, scale) => (*precision, *scale),
        other => (if *other == DataType::Int64 { 19 } else { 10 }, 0),
    };
    if number.is_floating() || divisor.is_floating() {
        return Ok(DataType::Float64);
    }
    let ((p1, s1), (p2, s2)) = (scale(number), scale(divisor));
    let (whole, fraction) = ((p1 as i8 - s1).min(p2 as i8 - s2), s1.max(s2));
    Ok(DataType::Decimal128((whole + fraction).clamp(1, 38) as u8, fraction))
}

/// `MOD(number, divisor)`
pub fn modulo(call: &Call) -> Result<ArrayRef> {
    let (number, divisor) = (call.column(0)?, call.column(1)?);
    let common = match (number.data_type(), divisor.data_type()) {
        (number, divisor) if number.is_integer() && divisor.is_integer() => Some(DataType::Int64),
        (number, divisor) if number.is_floating() || divisor.is_floating() => Some(DataType::Float64),
        _ => None,
    };
    let (number, divisor) = match common {
        Some(common) => (arrow::compute::cast(&number, &common)?, arrow::compute::cast(&divisor, &common)?),
        None => (as_decimal(&number)?, as_decimal(&divisor)?),
    };
    let remainder = arrow::compute::kernels::numeric::rem(&number, &divisor)?;
    conversion::cast(&remainder, call.return_type, &conversion::Session { zone: Zone::UTC, lenient: false })
}

fn as_decimal(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type().is_integer() {
        true => Ok(arrow::compute::cast(column, &DataType::Decimal128(20, 0))?),
        false => Ok(Arc::clone(column)),
    }
}
