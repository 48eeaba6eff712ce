//! Division and multiplication of decimals by Flink's rules: the quotient has at least six digits after the point, rounded half
//! up; where 38 digits are not enough, digits after the point are given up, but not below six.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array},
    datatypes::{DataType, Decimal128Type, i256},
};
use datafusion::common::{Result, exec_err, plan_err};

use crate::functions::{argument::Call, conversion::fits};

const MOST_DIGITS: i32 = 38;
const FEWEST_DIGITS_AFTER_POINT: i32 = 6;

/// Whether operands make a decimal: one is a decimal, the other a decimal or whole number.
pub fn is_decimal_arithmetic(types: &[DataType; 2]) -> bool {
    let exact = |data_type: &DataType| shape(data_type).is_some();
    types.iter().any(DataType::is_decimal) && types.iter().all(exact)
}

/// Whether DataFusion would cut the product of these decimals differently.
pub fn needs_rescaled_product(types: &[DataType; 2]) -> bool {
    let [Some((p1, s1)), Some((p2, s2))] = [shape(&types[0]), shape(&types[1])] else { return false };
    is_decimal_arithmetic(types) && adjusted(p1 + p2 + 1, s1 + s2).1 != s1 + s2
}

/// Type of a quotient.
pub fn quotient_type(types: &[DataType]) -> Result<DataType> {
    let ((p1, s1), (p2, s2)) = shapes(types)?;
    let scale = FEWEST_DIGITS_AFTER_POINT.max(s1 + p2 + 1);
    Ok(decimal(adjusted(p1 - s1 + s2 + scale, scale)))
}

/// Type of a product.
pub fn product_type(types: &[DataType]) -> Result<DataType> {
    let ((p1, s1), (p2, s2)) = shapes(types)?;
    Ok(decimal(adjusted(p1 + p2 + 1, s1 + s2)))
}

/// Whether the sum of such decimals may need more than 38 digits, which DataFusion would not notice.
pub fn may_overflow_sum(types: &[DataType; 2]) -> bool {
    let [Some(left), Some(right)] = [shape(&types[0]), shape(&types[1])] else { return false };
    is_decimal_arithmetic(types) && sum_shape(left, right).0 > MOST_DIGITS
}

/// Type of a sum or difference.
pub fn sum_type(types: &[DataType]) -> Result<DataType> {
    let (left, right) = shapes(types)?;
    let (precision, scale) = sum_shape(left, right);
    Ok(decimal(adjusted(precision, scale)))
}

fn sum_shape((p1, s1): (i32, i32), (p2, s2): (i32, i32)) -> (i32, i32) {
    let scale = s1.max(s2);
    ((p1 - s1).max(p2 - s2) + scale + 1, scale)
}

/// `left + right`; NULL if the sum has too many digits.
pub fn plus(call: &Call) -> Result<ArrayRef> {
    add(call, i256::checked_add)
}

/// `left - right`; NULL if the difference has too many digits.
pub fn minus(call: &Call) -> Result<ArrayRef> {
    add(call, i256::checked_sub)
}

fn add(call: &Call, operation: fn(i256, i256) -> Option<i256>) -> Result<ArrayRef> {
    let scale = |index: usize| shape(&call.arguments[index].data_type()).map_or(0, |(_, scale)| scale);
    let (s1, s2) = (scale(0), scale(1));
    let units = power_of_ten((s2 - s1).max(0)).zip(power_of_ten((s1 - s2).max(0)));
    each(
        call,
        |left, right, down| {
            let Some((left_unit, right_unit)) = units else { return Ok(None) };
            let aligned = left.checked_mul(left_unit).zip(right.checked_mul(right_unit));
            let sum = aligned.and_then(|(left, right)| operation(left, right));
            Ok(sum.zip(power_of_ten(down)).and_then(|(sum, unit)| rounded(sum, unit)))
        },
        |s1, s2, scale| (s1.max(s2) - scale).max(0),
    )
}

/// `left / right`; NULL if the quotient has too many digits.
pub fn divide(call: &Call) -> Result<ArrayRef> {
    each(
        call,
        |left, right, up| {
            if right == i256::ZERO {
                return exec_err!("division by zero");
            }
            // up: the digits by which the dividend must be longer than the divisor.
            Ok(match up {
                0.. => power_of_ten(up)
                    .and_then(|unit| left.checked_mul(unit))
                    .and_then(|left| rounded(left, right)),
                _ => power_of_ten(-up)
                    .and_then(|unit| right.checked_mul(unit))
                    .and_then(|right| rounded(left, right)),
            })
        },
        |s1, s2, scale| scale - s1 + s2,
    )
}

/// `left * right`; NULL if the product has too many digits.
pub fn multiply(call: &Call) -> Result<ArrayRef> {
    each(
        call,
        |left, right, down| {
            let product = left.checked_mul(right);
            Ok(product.zip(power_of_ten(down)).and_then(|(product, unit)| rounded(product, unit)))
        },
        |s1, s2, scale| (s1 + s2 - scale).max(0),
    )
}

fn each(
    call: &Call,
    operation: impl Fn(i256, i256, i32) -> Result<Option<i256>>,
    shift: fn(i32, i32, i32) -> i32,
) -> Result<ArrayRef> {
    let DataType::Decimal128(precision, scale) = call.return_type else {
        return plan_err!("a decimal operation gives a decimal");
    };
    let (left, right) = (decimals(&call.column(0)?)?, decimals(&call.column(1)?)?);
    let shift = shift(left.scale().into(), right.scale().into(), (*scale).into());
    let values = (0..call.rows).map(|row| {
        if left.is_null(row) || right.is_null(row) {
            return Ok(None);
        }
        let value = operation(i256::from_i128(left.value(row)), i256::from_i128(right.value(row)), shift)?;
        Ok(value.and_then(i256::to_i128).filter(|value| fits(*value, *precision)))
    });
    let values: Decimal128Array = values.collect::<Result<_>>()?;
    Ok(Arc::new(values.with_precision_and_scale(*precision, *scale)?))
}

fn decimals(column: &ArrayRef) -> Result<Decimal128Array> {
    let (precision, scale) = shape(column.data_type()).unwrap_or((MOST_DIGITS, 0));
    let column = arrow::compute::cast(column, &decimal((precision, scale)))?;
    Ok(column.as_primitive::<Decimal128Type>().clone())
}

/// Divides, rounding half away from zero.
fn rounded(value: i256, divisor: i256) -> Option<i256> {
    let (quotient, remainder) = (value.checked_div(divisor)?, value.checked_rem(divisor)?);
    let twice = remainder.wrapping_abs().checked_mul(i256::from_i128(2))?;
    if twice < divisor.wrapping_abs() {
        return Some(quotient);
    }
    let one = if value.is_negative() == divisor.is_negative() { i256::ONE } else { i256::MINUS_ONE };
    quotient.checked_add(one)
}

fn power_of_ten(digits: i32) -> Option<i256> {
    i256::from_i128(10).checked_pow(u32::try_from(digits).ok()?)
}

/// Digits in all, and after the point.
fn shape(data_type: &DataType) -> Option<(i32, i32)> {
    Some(match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => (i32::from(*precision), i32::from(*scale)),
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        _ => return None,
    })
}

fn shapes(types: &[DataType]) -> Result<((i32, i32), (i32, i32))> {
    match types {
        [left, right] => match (shape(left), shape(right)) {
            (Some(left), Some(right)) => Ok((left, right)),
            _ => plan_err!("{left} and {right} are not decimals"),
        },
        _ => plan_err!("two operands are needed"),
    }
}

/// Gives up digits after the point where more than 38 would be needed.
fn adjusted(precision: i32, scale: i32) -> (i32, i32) {
    if precision <= MOST_DIGITS {
        return (precision, scale);
    }
    let kept = FEWEST_DIGITS_AFTER_POINT.min(scale);
    (MOST_DIGITS, (MOST_DIGITS - (precision - scale)).max(kept))
}

fn decimal((precision, scale): (i32, i32)) -> DataType {
    DataType::Decimal128(precision as u8, scale as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_flink() {
        let d = |precision, scale| DataType::Decimal128(precision, scale);
        assert_eq!(quotient_type(&[d(10, 2), d(10, 2)]).expect("a type"), d(23, 13));
        assert_eq!(quotient_type(&[DataType::Int32, d(2, 1)]).expect("a type"), d(17, 6));
        assert_eq!(quotient_type(&[d(38, 4), d(38, 4)]).expect("a type"), d(38, 6));
        assert_eq!(product_type(&[d(38, 18), d(38, 18)]).expect("a type"), d(38, 6));
        assert!(!needs_rescaled_product(&[d(15, 2), d(16, 2)]));
    }
}
