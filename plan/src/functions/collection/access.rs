//! What is in a collection.

use arrow::{
    array::{Array, ArrayRef, AsArray, UInt32Array},
    compute::take,
    datatypes::{DataType, Int32Type},
};
use datafusion::common::{Result, exec_err};

use super::lists::{Comparable, Lists};
use crate::functions::{
    argument::{Call, Text, booleans, numbers, texts},
    conversion::Writer,
    zone::Zone,
};

/// `CARDINALITY(array | map)`
pub fn cardinality(call: &Call) -> Result<ArrayRef> {
    let column = call.column(0)?;
    let offsets = match column.data_type() {
        DataType::Map(..) => column.as_map().value_offsets(),
        _ => column.as_list::<i32>().value_offsets(),
    };
    numbers::<Int32Type>(call.rows, |row| Ok(column.is_valid(row).then(|| offsets[row + 1] - offsets[row])))
}

/// `ELEMENT(array)`
pub fn element(call: &Call) -> Result<ArrayRef> {
    let lists = Lists::of(call, 0..1)?;
    let places = (0..call.rows).map(|row| match lists.items(0, row) {
        Some(items) if items.len() > 1 => {
            exec_err!("ELEMENT takes an array of one element, this one has {}", items.len())
        }
        Some(items) => Ok(items.map(|place| place as u32).next()),
        None => Ok(None),
    });
    Ok(take(&lists.values, &places.collect::<Result<UInt32Array>>()?, None)?)
}

/// `ARRAY_CONTAINS(array, element)`
pub fn contains(call: &Call) -> Result<ArrayRef> {
    let found = find(call)?;
    booleans(call.rows, |row| Ok(found[row].map(|place| place > 0)))
}

/// `ARRAY_POSITION(array, element)`: NULL if the element is NULL.
pub fn position(call: &Call) -> Result<ArrayRef> {
    let (found, needles) = (find(call)?, call.column(1)?);
    numbers::<Int32Type>(call.rows, |row| Ok(found[row].filter(|_| needles.is_valid(row))))
}

/// The place of the element in each row's array, from 1; 0 if it is not there.
fn find(call: &Call) -> Result<Vec<Option<i32>>> {
    let lists = Lists::of(call, 0..1)?;
    let comparable = Comparable::of(lists.values.data_type())?;
    let (elements, needles) = (comparable.rows(&lists.values)?, comparable.rows(&call.column(1)?)?);
    let find = |row: usize| {
        let place = lists.items(0, row)?.position(|place| elements.row(place) == needles.row(row));
        Some(place.map_or(0, |place| place as i32 + 1))
    };
    Ok((0..call.rows).map(find).collect())
}

/// `ARRAY_JOIN(array, delimiter [, null_replacement])`
pub fn join(call: &Call) -> Result<ArrayRef> {
    let (lists, delimiters) = (Lists::of(call, 0..1)?, call.text(1)?);
    let replacements = if call.has(2) { call.text(2)? } else { Text::Constant(None) };
    let writer = Writer::of(&lists.values, Zone::of_session(call.config))?;
    texts(call.rows, |row, out| {
        let (Some(items), Some(delimiter)) = (lists.items(0, row), delimiters.get(row)) else {
            return Ok(None);
        };
        let mut parts = 0;
        for place in items {
            let replacement = replacements.get(row);
            if writer.is_null(place) && replacement.is_none() {
                continue;
            }
            if parts > 0 {
                out.push_str(delimiter);
            }
            parts += 1;
            match replacement.filter(|_| writer.is_null(place)) {
                Some(replacement) => out.push_str(replacement),
                None => writer.write(place, out)?,
            }
        }
        Ok(Some(()))
    })
}
