//! Arrays as sets, in the order in which elements first come.

use arrow::{array::ArrayRef, row::Rows};
use datafusion::common::Result;

use super::lists::{Lists, build, is_picked};
use crate::functions::argument::Call;

/// `ARRAY_DISTINCT(array)`
pub fn distinct(call: &Call) -> Result<ArrayRef> {
    each_once(call, 1, |_, _, _| true)
}

/// `ARRAY_UNION(array1, array2)`
pub fn union(call: &Call) -> Result<ArrayRef> {
    each_once(call, 2, |_, _, _| true)
}

/// `ARRAY_EXCEPT(array1, array2)`
pub fn except(call: &Call) -> Result<ArrayRef> {
    each_once(call, 1, |place, other, rows| !other.clone().any(|other| rows.row(other) == rows.row(place)))
}

/// `ARRAY_INTERSECT(array1, array2)`
pub fn intersect(call: &Call) -> Result<ArrayRef> {
    each_once(call, 1, |place, other, rows| other.clone().any(|other| rows.row(other) == rows.row(place)))
}

/// The elements of the first `sources` arrays that `wanted` accepts, each once. It is told the elements of the second array.
fn each_once(
    call: &Call,
    sources: usize,
    wanted: fn(usize, &std::ops::Range<usize>, &Rows) -> bool,
) -> Result<ArrayRef> {
    let lists = Lists::of(call, 0..call.count())?;
    let rows = lists.comparable()?;
    build(call, &lists.values, |row, picked| {
        let arrays: Option<Vec<_>> = (0..call.count()).map(|argument| lists.items(argument, row)).collect();
        let Some(arrays) = arrays else { return Ok(None) };
        let start = picked.len();
        let second = arrays.get(1).cloned().unwrap_or(0..0);
        for place in arrays.into_iter().take(sources).flatten() {
            if wanted(place, &second, &rows) && !is_picked(rows.row(place), &picked[start..], &rows) {
                picked.push(place as u32);
            }
        }
        Ok(Some(()))
    })
}
