//! The windows of a time, for window table functions over tables that end.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray as _, ListBuilder, TimestampMillisecondArray, TimestampMillisecondBuilder,
    },
    datatypes::TimestampMillisecondType,
};
use datafusion::common::{Result, exec_datafusion_err};

use crate::{
    functions::argument::Call,
    panes::{Panes, WindowShape},
};

/// The windows that the arguments behind the first describe, which are the same for every row.
fn panes(call: &Call) -> Result<Panes> {
    let missing = || exec_datafusion_err!("windows are described by a shape and three numbers");
    let shape = call.text(1)?.get(0).ok_or_else(missing)?;
    let number = |at| -> Result<i64> { call.integers(at)?.get(0).ok_or_else(missing) };
    let (first_ms, second_ms, offset_ms) = (number(2)?, number(3)?, number(4)?);
    let shape = match shape {
        "tumble" => WindowShape::Tumble { size_ms: second_ms },
        "hop" => WindowShape::Hop { slide_ms: first_ms, size_ms: second_ms },
        "cumulate" => WindowShape::Cumulate { step_ms: first_ms, max_size_ms: second_ms },
        other => return Err(exec_datafusion_err!("there is no window shape `{other}`")),
    };
    Ok(Panes { shape, offset_ms })
}

/// The end of the last window that each time is in.
pub fn last_end(call: &Call) -> Result<ArrayRef> {
    let panes = panes(call)?;
    each(call, |time| panes.last_window_end(panes.pane_start(time)))
}

/// The start of the window with each end.
pub fn start(call: &Call) -> Result<ArrayRef> {
    let panes = panes(call)?;
    each(call, |end| Some(panes.window_start(end)))
}

/// The last millisecond of the window with each end.
pub fn time(call: &Call) -> Result<ArrayRef> {
    each(call, |end| end.checked_sub(1))
}

/// The ends of all windows that each time is in.
pub fn ends(call: &Call) -> Result<ArrayRef> {
    let panes = panes(call)?;
    let column = call.column(0)?;
    let times = times(&column)?;
    let mut lists = ListBuilder::new(TimestampMillisecondBuilder::new());
    for row in 0..times.len() {
        if times.is_valid(row) {
            panes
                .window_ends(panes.pane_start(times.value(row)))
                .for_each(|end| lists.values().append_value(end));
        }
        lists.append(times.is_valid(row));
    }
    Ok(Arc::new(lists.finish()))
}

fn each(call: &Call, value: impl Fn(i64) -> Option<i64>) -> Result<ArrayRef> {
    let column = call.column(0)?;
    let values: TimestampMillisecondArray = times(&column)?.iter().map(|time| value(time?)).collect();
    Ok(Arc::new(values))
}

fn times(column: &ArrayRef) -> Result<&TimestampMillisecondArray> {
    let times = column.as_primitive_opt::<TimestampMillisecondType>();
    times.ok_or_else(|| exec_datafusion_err!("windows need times of type TIMESTAMP(3)"))
}
