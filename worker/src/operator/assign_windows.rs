//! Puts each row into each of its windows: a window table function whose borders are used row by row.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, RecordBatch, TimestampMillisecondArray, UInt32Array},
    compute::take_record_batch,
    datatypes::{DataType, SchemaRef},
};
use datafusion::error::Result;
use thalweg_plan::panes::{Panes, WindowBound};

use super::{
    link::{Next, Operator},
    times::times,
};

/// Adds the borders of a row's windows to it, once for each window. A row without a time is in none.
pub struct AssignWindows {
    /// The column with a row's time.
    pub time: usize,
    /// The windows.
    pub windows: Panes,
    /// The columns added.
    pub bounds: Vec<WindowBound>,
    /// All columns.
    pub schema: SchemaRef,
}

impl Operator for AssignWindows {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let times = times(batch.column(self.time))?;
        let mut rows = Vec::with_capacity(batch.num_rows());
        let mut ends = Vec::with_capacity(batch.num_rows());
        for row in (0..batch.num_rows()).filter(|row| times.is_valid(*row)) {
            let time = times.value(row);
            for end in self.windows.window_ends(self.windows.pane_start(time)) {
                rows.push(row as u32);
                ends.push(end);
            }
        }
        let taken = take_record_batch(&batch, &UInt32Array::from(rows))?;
        let mut columns = taken.columns().to_vec();
        let fields = &self.schema.fields()[columns.len()..];
        for (bound, field) in self.bounds.iter().zip(fields) {
            columns.push(border_column(&self.windows, *bound, &ends, field.data_type()));
        }
        next.rows(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// A border of the windows with these ends, as a column of a time type.
pub fn border_column(windows: &Panes, bound: WindowBound, ends: &[i64], data_type: &DataType) -> ArrayRef {
    let values = ends.iter().map(|end| match bound {
        WindowBound::Start => windows.window_start(*end),
        WindowBound::End => *end,
        WindowBound::Time => end - 1,
    });
    Arc::new(TimestampMillisecondArray::from_iter_values(values).with_data_type(data_type.clone()))
}
