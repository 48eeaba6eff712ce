//! Sorting arrays.

use arrow::array::{Array, ArrayRef};
use datafusion::common::Result;

use super::lists::{Lists, build};
use crate::functions::argument::{Booleans, Call};

/// `ARRAY_SORT(array [, ascending [, null_first]])`
pub fn sort(call: &Call) -> Result<ArrayRef> {
    let lists = Lists::of(call, 0..1)?;
    let rows = lists.comparable()?;
    let ascending = if call.has(1) { call.booleans(1)? } else { Booleans::Constant(Some(true)) };
    let nulls_first = call.has(2).then(|| call.booleans(2)).transpose()?;
    build(call, &lists.values, |row, picked| {
        let (Some(items), Some(ascending)) = (lists.items(0, row), ascending.get(row)) else {
            return Ok(None);
        };
        let nulls_first = nulls_first.as_ref().map_or(Some(ascending), |nulls_first| nulls_first.get(row));
        let Some(nulls_first) = nulls_first else { return Ok(None) };
        let (nulls, mut present): (Vec<_>, Vec<_>) = items.partition(|place| lists.values.is_null(*place));
        present.sort_by(|a, b| rows.row(*a).cmp(&rows.row(*b)));
        if !ascending {
            present.reverse();
        }
        let sorted = if nulls_first { [nulls, present] } else { [present, nulls] };
        picked.extend(sorted.into_iter().flatten().map(|place| place as u32));
        Ok(Some(()))
    })
}
