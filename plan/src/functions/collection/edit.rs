//! Arrays made from arrays.

use arrow::array::{Array, ArrayRef};
use datafusion::common::Result;

use super::lists::{Comparable, Lists, build};
use crate::functions::argument::Call;

/// `ARRAY_SLICE(array, start [, end])`
pub fn slice(call: &Call) -> Result<ArrayRef> {
    let (lists, starts) = (Lists::of(call, 0..1)?, call.integers(1)?);
    let ends = call.has(2).then(|| call.integers(2)).transpose()?;
    build(call, &lists.values, |row, picked| {
        let end = ends.as_ref().map_or(Some(-1), |ends| ends.get(row));
        let (Some(items), Some(start), Some(end)) = (lists.items(0, row), starts.get(row), end) else {
            return Ok(None);
        };
        let length = items.len() as i64;
        // From 0, the end exclusive; 0 is the first place, too.
        let from = if start < 0 { length + start } else { start - i64::from(start > 0) }.max(0);
        let to = if end < 0 { length + end + 1 } else { end.max(1) }.min(length);
        if from < to {
            picked.extend((from..to).map(|place| items.start as u32 + place as u32));
        }
        Ok(Some(()))
    })
}

/// `ARRAY_APPEND(array, element)`
pub fn append(call: &Call) -> Result<ArrayRef> {
    let (lists, start) = Lists::with_items(call, &call.column(1)?)?;
    build(call, &lists.values, |row, picked| {
        let Some(items) = lists.items(0, row) else { return Ok(None) };
        picked.extend(items.chain([start + row]).map(|place| place as u32));
        Ok(Some(()))
    })
}

/// `ARRAY_PREPEND(array, element)`
pub fn prepend(call: &Call) -> Result<ArrayRef> {
    let (lists, start) = Lists::with_items(call, &call.column(1)?)?;
    build(call, &lists.values, |row, picked| {
        let Some(items) = lists.items(0, row) else { return Ok(None) };
        picked.extend([start + row].into_iter().chain(items).map(|place| place as u32));
        Ok(Some(()))
    })
}

/// `ARRAY_REMOVE(array, element)`
pub fn remove(call: &Call) -> Result<ArrayRef> {
    let lists = Lists::of(call, 0..1)?;
    let comparable = Comparable::of(lists.values.data_type())?;
    let (elements, unwanted) = (comparable.rows(&lists.values)?, comparable.rows(&call.column(1)?)?);
    build(call, &lists.values, |row, picked| {
        let Some(items) = lists.items(0, row) else { return Ok(None) };
        let kept = items.filter(|place| elements.row(*place) != unwanted.row(row));
        picked.extend(kept.map(|place| place as u32));
        Ok(Some(()))
    })
}

/// `ARRAY_CONCAT(array, ...)`
pub fn concat(call: &Call) -> Result<ArrayRef> {
    let lists = Lists::of(call, 0..call.count())?;
    build(call, &lists.values, |row, picked| {
        for argument in 0..call.count() {
            let Some(items) = lists.items(argument, row) else { return Ok(None) };
            picked.extend(items.map(|place| place as u32));
        }
        Ok(Some(()))
    })
}

#[cfg(test)]
mod tests {
    use arrow::{array::Int32Array, datatypes::Int32Type};

    use super::*;

    #[test]
    fn an_element_column_follows_the_arrays() {
        let lists =
            arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), None]);
        let items: ArrayRef = std::sync::Arc::new(Int32Array::from(vec![7, 8]));
        let arguments = [
            datafusion::logical_expr::ColumnarValue::Array(std::sync::Arc::new(lists.clone())),
            datafusion::logical_expr::ColumnarValue::Array(items),
        ];
        let config = datafusion::common::config::ConfigOptions::default();
        let call = Call { arguments: &arguments, rows: 2, return_type: lists.data_type(), config: &config };
        let appended = append(&call).expect("appended");
        let expected = arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), Some(7)]),
            None,
        ]);
        assert_eq!(appended.as_ref(), &expected as &dyn Array);
    }
}
