//! Functions that make the result of an aggregate out of its parts, or what is collected for it; only lowered plans call them.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int32Array, MapArray, StructArray, UInt32Array},
    buffer::OffsetBuffer,
    compute::take,
    datatypes::{DataType, Decimal128Type, Field, Fields, Float64Type, Int64Type, i256},
};
use datafusion::common::{Result, exec_err, plan_err};

use super::{percentile, sum::MOST_DIGITS};
use crate::functions::{
    argument::{Call, Kind, Text, numbers, texts},
    builtin::Builtin,
    collection::Comparable,
    conversion::fits,
    json::write_string,
};

/// The fewest digits after the point of an average of decimals.
const DIGITS_AFTER_POINT: i8 = 6;

/// The functions.
pub fn functions() -> Vec<Builtin> {
    use Kind::{Any, Integer, Number, Text};
    vec![
        Builtin::internal("average", average).takes(&[Number, Integer]).returns_by(|types| match types {
            [sum, ..] => Ok(average_type(sum)),
            [] => plan_err!("a sum is needed"),
        }),
        Builtin::internal("listed_text", listed_text).takes(&[Any, Text]),
        Builtin::internal("multiset", multiset).takes(&[Any]).returns_by(|types| match types {
            [DataType::List(item)] => Ok(multiset_type(item.data_type())),
            _ => plan_err!("an array is needed"),
        }),
        Builtin::internal("json_array_of", json_array_of).takes(&[Text]),
        Builtin::internal("json_member", json_member).takes(&[Text, Text]).returns(member_type()),
        Builtin::internal("json_object_of", json_object_of).takes(&[Any]),
        Builtin::internal("percentile_entry", percentile::entry)
            .takes(&[Kind::Double, Integer])
            .returns(percentile::weighted_type()),
        Builtin::internal("percentile_of", percentile::of).takes(&[Any, Any]).returns_by(percentile::result),
    ]
}

/// Type of an average of such numbers.
pub fn average_type(number: &DataType) -> DataType {
    match number {
        DataType::Decimal128(_, scale) => DataType::Decimal128(MOST_DIGITS, (*scale).max(DIGITS_AFTER_POINT)),
        number => number.clone(),
    }
}

/// `average(sum, count)`: NULL of nothing; whole numbers are cut, decimals rounded half up.
fn average(call: &Call) -> Result<ArrayRef> {
    let (sums, counts) = (call.column(0)?, call.integers(1)?);
    let count = |row: usize| counts.get(row).filter(|count| *count > 0 && sums.is_valid(row));
    match sums.data_type() {
        DataType::Int64 => {
            let sums = sums.as_primitive::<Int64Type>();
            numbers::<Int64Type>(call.rows, |row| Ok(count(row).map(|count| sums.value(row) / count)))
        }
        DataType::Float64 => {
            let sums = sums.as_primitive::<Float64Type>();
            numbers::<Float64Type>(
                call.rows,
                |row| Ok(count(row).map(|count| sums.value(row) / count as f64)),
            )
        }
        DataType::Decimal128(_, scale) => {
            let shift = 10i128.pow((DIGITS_AFTER_POINT - scale).max(0) as u32);
            let sums = sums.as_primitive::<Decimal128Type>();
            let column = numbers::<Decimal128Type>(call.rows, |row| {
                Ok(count(row).and_then(|count| decimal_average(sums.value(row), shift, count)))
            })?;
            let DataType::Decimal128(precision, scale) = average_type(sums.data_type()) else {
                return plan_err!("the average of decimals is a decimal");
            };
            let column = column.as_primitive::<Decimal128Type>().clone();
            Ok(Arc::new(column.with_precision_and_scale(precision, scale)?))
        }
        other => plan_err!("there is no average of {other}"),
    }
}

/// `sum * shift / count`, rounded half away from zero; nothing if it has too many digits.
fn decimal_average(sum: i128, shift: i128, count: i64) -> Option<i128> {
    let count = i128::from(count);
    let quotient = match sum.checked_mul(shift) {
        Some(sum) => {
            let (quotient, rest) = (sum / count, sum % count);
            quotient + if rest.abs() * 2 >= count { sum.signum() } else { 0 }
        }
        None => {
            let (sum, count) =
                (i256::from_i128(sum).checked_mul(i256::from_i128(shift))?, i256::from_i128(count));
            let (quotient, rest) = (sum.checked_div(count)?.to_i128()?, sum.checked_rem(count)?.to_i128()?);
            quotient.checked_add(if rest.abs() * 2 >= count.to_i128()? { rest.signum() } else { 0 })?
        }
    };
    Some(quotient).filter(|quotient| fits(*quotient, MOST_DIGITS))
}

/// `listed_text(strings, separator)`: NULL of no strings.
fn listed_text(call: &Call) -> Result<ArrayRef> {
    let (lists, separators) = (call.column(0)?, call.text(1)?);
    let lists = lists.as_list::<i32>();
    let strings = Text::of(lists.values())?;
    let offsets = lists.value_offsets();
    texts(call.rows, |row, out| {
        if lists.is_null(row) || offsets[row] == offsets[row + 1] {
            return Ok(None);
        }
        let separator = separators.get(row).unwrap_or_default();
        for place in offsets[row]..offsets[row + 1] {
            if place > offsets[row] {
                out.push_str(separator);
            }
            out.push_str(strings.get(place as usize).unwrap_or_default());
        }
        Ok(Some(()))
    })
}

/// Type of a count of values by value.
pub fn multiset_type(value: &DataType) -> DataType {
    let entries = DataType::Struct(Fields::from(vec![
        Field::new("key", value.clone(), false),
        Field::new("value", DataType::Int32, false),
    ]));
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

/// `multiset(values)`: how often there is each, in their order; empty of nothing.
fn multiset(call: &Call) -> Result<ArrayRef> {
    let lists = call.column(0)?;
    let lists = lists.as_list::<i32>();
    let rows = Comparable::of(lists.values().data_type())?.rows(lists.values())?;
    let offsets = lists.value_offsets();
    let (mut picked, mut counts, mut lengths) = (vec![], vec![], Vec::with_capacity(call.rows));
    for row in 0..call.rows {
        let places = if lists.is_valid(row) { offsets[row]..offsets[row + 1] } else { 0..0 };
        let mut places: Vec<u32> = places
            .map(|place| place as u32)
            .filter(|place| lists.values().is_valid(*place as usize))
            .collect();
        places.sort_by_key(|place| rows.row(*place as usize));
        let before = picked.len();
        for equal in places.chunk_by(|left, right| rows.row(*left as usize) == rows.row(*right as usize)) {
            picked.push(equal[0]);
            counts.push(equal.len() as i32);
        }
        lengths.push(picked.len() - before);
    }
    let DataType::Map(field, sorted) = call.return_type else { return plan_err!("a multiset is a map") };
    let DataType::Struct(fields) = field.data_type() else { return plan_err!("a map has entries") };
    let keys = take(lists.values(), &UInt32Array::from(picked), None)?;
    let entries = StructArray::try_new(fields.clone(), vec![keys, Arc::new(Int32Array::from(counts))], None)?;
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, None, *sorted)?))
}

/// `json_array_of(items)`: the items, joined by commas, in brackets.
fn json_array_of(call: &Call) -> Result<ArrayRef> {
    let items = call.text(0)?;
    texts(call.rows, |row, out| {
        out.push('[');
        out.push_str(items.get(row).unwrap_or_default());
        out.push(']');
        Ok(Some(()))
    })
}

fn member_type() -> DataType {
    let text = |name| Field::new(name, DataType::Utf8View, true);
    DataType::Struct(Fields::from(vec![text("key"), text("value")]))
}

/// `json_member(key, value)`: NULL without a value.
fn json_member(call: &Call) -> Result<ArrayRef> {
    let view = |index: usize| {
        Ok::<_, datafusion::error::DataFusionError>(arrow::compute::cast(
            &call.column(index)?,
            &DataType::Utf8View,
        )?)
    };
    let (keys, values) = (view(0)?, view(1)?);
    if (0..call.rows).any(|row| keys.is_null(row) && values.is_valid(row)) {
        return exec_err!("JSON_OBJECTAGG was given a key that is NULL");
    }
    let DataType::Struct(fields) = member_type() else { return plan_err!("a member is a row") };
    let valid = values.nulls().cloned();
    Ok(Arc::new(StructArray::try_new(fields, vec![keys, values], valid)?))
}

/// `json_object_of(members)`: the object of all members, in the order of their keys.
fn json_object_of(call: &Call) -> Result<ArrayRef> {
    let lists = call.column(0)?;
    let lists = lists.as_list::<i32>();
    let members = lists.values().as_struct();
    let (keys, values) = (Text::of(members.column(0))?, Text::of(members.column(1))?);
    let offsets = lists.value_offsets();
    texts(call.rows, |row, out| {
        let places = if lists.is_valid(row) { offsets[row]..offsets[row + 1] } else { 0..0 };
        let mut object = BTreeMap::new();
        for place in places.map(|place| place as usize).filter(|place| members.is_valid(*place)) {
            let key = keys.get(place).unwrap_or_default();
            if object.insert(key, values.get(place).unwrap_or("null")).is_some() {
                return exec_err!("JSON_OBJECTAGG was given the key '{key}' twice");
            }
        }
        out.push('{');
        for (index, (key, value)) in object.into_iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            write_string(key, out);
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        Ok(Some(()))
    })
}

#[cfg(test)]
mod tests {
    use super::decimal_average;

    #[test]
    fn averages_are_rounded_half_away_from_zero() {
        assert_eq!(decimal_average(5, 1, 2), Some(3));
        assert_eq!(decimal_average(-5, 1, 2), Some(-3));
        assert_eq!(decimal_average(4, 10, 3), Some(13));
        let large = 10i128.pow(37);
        assert_eq!(decimal_average(large, 1_000_000, 1_000_000), Some(large));
        assert_eq!(decimal_average(large, 1_000_000, 1), None);
    }
}
