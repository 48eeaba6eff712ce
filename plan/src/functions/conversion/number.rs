//! Numbers to narrower numbers: whole numbers keep their low bits, floating ones stop at the ends, and a decimal that does not
//! fit is NULL.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array},
    datatypes::{DataType, Decimal128Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type},
};
use datafusion::common::{Result, plan_err};

use super::decimal::fits;
use crate::functions::argument::type_name;

/// Converts a column of numbers or truth values.
pub fn cast(column: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let source = column.data_type();
    match target {
        DataType::Boolean => {
            let zero = |value: i128| value != 0;
            Ok(Arc::new(decimals(column)?.iter().map(|value| value.map(zero)).collect::<BooleanArray>()))
        }
        DataType::Decimal128(precision, scale) => to_decimal(column, *precision, *scale),
        _ if !target.is_integer() => {
            plan_err!("there is no cast from {} to {}", type_name(source), type_name(target))
        }
        _ if source.is_floating() => floating_to_whole(column, target),
        _ => narrow(&to_bigint(column)?, target),
    }
}

fn decimals(column: &ArrayRef) -> Result<Decimal128Array> {
    let scale = match column.data_type() {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            *scale
        }
        _ => 0,
    };
    let wide = arrow::compute::cast(column, &DataType::Decimal128(38, scale))?;
    Ok(wide.as_primitive::<Decimal128Type>().clone())
}

fn to_bigint(column: &ArrayRef) -> Result<Int64Array> {
    if column.data_type().is_decimal() {
        let decimals = decimals(column)?;
        let unit = 10_i128.pow(u32::from(decimals.scale().unsigned_abs()));
        return Ok(decimals.unary(|value| (value / unit) as i64));
    }
    Ok(arrow::compute::cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// Java's narrowing of whole numbers.
fn narrow(column: &Int64Array, target: &DataType) -> Result<ArrayRef> {
    Ok(match target {
        DataType::Int8 => Arc::new(column.unary::<_, Int8Type>(|value| value as i8)),
        DataType::Int16 => Arc::new(column.unary::<_, Int16Type>(|value| value as i16)),
        DataType::Int32 => Arc::new(column.unary::<_, Int32Type>(|value| value as i32)),
        DataType::Int64 => Arc::new(column.clone()),
        _ => arrow::compute::cast(column, target)?,
    })
}

/// Java's narrowing of floating numbers: to INT or BIGINT first, stopping at the ends, NaN is 0.
fn floating_to_whole(column: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let doubles = arrow::compute::cast(column, &DataType::Float64)?;
    let doubles = doubles.as_primitive::<Float64Type>();
    match target {
        DataType::Int64 => Ok(Arc::new(doubles.unary::<_, Int64Type>(|value| value as i64))),
        _ => narrow(&doubles.unary::<_, Int64Type>(|value| i64::from(value as i32)), target),
    }
}

fn to_decimal(column: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef> {
    let fitting = |value: i128| Some(value).filter(|value| fits(*value, precision));
    let result: Decimal128Array = if column.data_type().is_floating() {
        // By way of the shortest decimal text, as Java's BigDecimal.valueOf.
        let doubles = arrow::compute::cast(column, &DataType::Float64)?;
        let doubles = doubles.as_primitive::<Float64Type>();
        doubles
            .iter()
            .map(|value| value.and_then(|value| super::parse_decimal(&value.to_string(), precision, scale)))
            .collect()
    } else {
        let column = match column.data_type() {
            DataType::Boolean => &arrow::compute::cast(column, &DataType::Int8)?,
            _ => column,
        };
        let decimals = decimals(column)?;
        let up = i32::from(scale) - i32::from(decimals.scale());
        let unit = 10_i128.pow(up.unsigned_abs());
        let rescale =
            |value: i128| if up >= 0 { value.checked_mul(unit) } else { Some(divide_half_up(value, unit)) };
        decimals.iter().map(|value| value.and_then(rescale).and_then(fitting)).collect()
    };
    Ok(Arc::new(result.with_precision_and_scale(precision, scale)?))
}

/// Divides, rounding half away from zero.
pub fn divide_half_up(value: i128, divisor: i128) -> i128 {
    let (quotient, remainder) = (value / divisor, value % divisor);
    match remainder.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2) {
        true => quotient + value.signum() * divisor.signum(),
        false => quotient,
    }
}
