//! Maps made from maps.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, MapArray, StructArray, UInt32Array},
    buffer::{NullBuffer, OffsetBuffer},
    compute::{concat, take},
    datatypes::DataType,
};
use datafusion::common::{Result, plan_err};

use super::lists::Comparable;
use crate::functions::argument::Call;

/// `MAP_UNION(map, ...)`
pub fn union(call: &Call) -> Result<ArrayRef> {
    let DataType::Map(field, sorted) = call.return_type else { return plan_err!("the result is a map") };
    let maps = (0..call.count())
        .map(|index| Ok(call.column(index)?.as_map().clone()))
        .collect::<Result<Vec<MapArray>>>()?;
    let all = |column: fn(&MapArray) -> &ArrayRef| {
        concat(&maps.iter().map(|map| column(map).as_ref()).collect::<Vec<_>>())
    };
    let (keys, values) = (all(MapArray::keys)?, all(MapArray::values)?);
    let rows = Comparable::of(keys.data_type())?.rows(&keys)?;
    let (mut picked, mut lengths, mut valid) = (Vec::<u32>::new(), vec![], vec![]);
    for row in 0..call.rows {
        let start = picked.len();
        let whole = maps.iter().all(|map| map.is_valid(row));
        let mut before = 0;
        for map in maps.iter().filter(|_| whole) {
            let offsets = map.value_offsets();
            for place in before + offsets[row] as usize..before + offsets[row + 1] as usize {
                let known =
                    picked[start..].iter_mut().find(|known| rows.row(**known as usize) == rows.row(place));
                match known {
                    Some(known) => *known = place as u32,
                    None => picked.push(place as u32),
                }
            }
            before += map.keys().len();
        }
        lengths.push(picked.len() - start);
        valid.push(whole);
    }
    let DataType::Struct(fields) = field.data_type() else { return plan_err!("a map has entries") };
    let picked = UInt32Array::from(picked);
    let entries = StructArray::try_new(
        fields.clone(),
        vec![take(&keys, &picked, None)?, take(&values, &picked, None)?],
        None,
    )?;
    let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
    Ok(Arc::new(MapArray::try_new(
        Arc::clone(field),
        OffsetBuffer::from_lengths(lengths),
        entries,
        nulls,
        *sorted,
    )?))
}
