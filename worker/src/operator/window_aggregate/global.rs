//! Puts windows out when event time has passed their end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions},
    datatypes::{Int64Type, SchemaRef},
};
use datafusion::{
    error::{DataFusionError, Result},
    execution::memory_pool::MemoryReservation,
};
use thalweg_plan::{panes::Panes, stream::OutputColumn};

use super::{
    kernel::{Kernel, by_pane},
    pane::Pane,
    table::{Of, Table},
};
use crate::{
    operator::{
        assign_windows::border_column,
        late_rows::LateRows,
        link::{Next, Operator},
        progress::Progress,
        times::times,
    },
    state::{Restored, Snapshot, check_schema, encode_value},
    watermark::Watermark,
};

/// Rows that go on at once.
const BATCH_ROWS: usize = 8192;

/// The whole of an aggregation by windows, or its second phase.
pub struct WindowAggregate {
    kernel: Kernel,
    windows: Panes,
    /// The column with a row's time; `None` where states come.
    time: Option<usize>,
    output: Vec<OutputColumn>,
    schema: SchemaRef,
    panes: BTreeMap<i64, Pane>,
    /// The first end of a window that is not out and has rows.
    next_end_ms: i64,
    progress: Progress,
    key_groups: u16,
    memory: MemoryReservation,
}

impl WindowAggregate {
    /// An aggregation of rows whose time is in the column `time`, or of states. Its columns are those of `schema`.
    pub fn new(
        kernel: Kernel,
        windows: Panes,
        time: Option<usize>,
        output: Vec<OutputColumn>,
        schema: SchemaRef,
        key_groups: u16,
        memory: MemoryReservation,
    ) -> Self {
        Self {
            kernel,
            windows,
            time,
            output,
            schema,
            panes: BTreeMap::new(),
            next_end_ms: i64::MAX,
            progress: Progress::default(),
            key_groups,
            memory,
        }
    }

    fn take(&mut self, batch: RecordBatch) -> Result<()> {
        let (parts, of) = match self.time {
            Some(time) => {
                let times = times(batch.column(time))?.clone();
                let pane_of = |row: usize| {
                    let valid = arrow::array::Array::is_valid(&times, row);
                    valid.then(|| self.windows.pane_start(times.value(row)))
                };
                (by_pane(batch, pane_of)?, Of::Rows)
            }
            None => {
                let panes = batch.column(self.kernel.pane_column()).as_primitive_opt::<Int64Type>();
                let panes =
                    panes.ok_or_else(|| DataFusionError::Internal("states without a pane".to_owned()))?;
                let panes = panes.clone();
                (by_pane(batch, |row| Some(panes.value(row)))?, Of::States)
            }
        };
        for (start, rows) in parts {
            self.add(start, &rows, of)?;
        }
        let bytes = self.panes.values().map(Pane::bytes).sum();
        self.memory.try_resize(bytes)
    }

    fn add(&mut self, start: i64, rows: &RecordBatch, of: Of) -> Result<()> {
        let open = self.windows.window_ends(start).find(|end| *end > self.progress.fired_ms);
        let Some(first_open) = open else {
            return match (self.windows.last_window_end(start), self.time) {
                (None, _) => Ok(()),
                (Some(_), Some(time)) => self.progress.leave_out(rows, time),
                (Some(_), None) => {
                    self.progress.late += rows.num_rows() as u64;
                    Ok(())
                }
            };
        };
        self.next_end_ms = self.next_end_ms.min(first_open);
        let input = match of {
            Of::Rows => self.kernel.rows(rows)?,
            Of::States => self.kernel.states(rows),
        };
        self.panes.entry(start).or_default().add(&self.kernel, &input, of)
    }

    /// Puts out all windows that end at `until_ms` or before, the first one first.
    fn fire(&mut self, until_ms: i64, next: &mut Next<'_>) -> Result<()> {
        if self.next_end_ms <= until_ms {
            let ends: BTreeSet<i64> = self
                .panes
                .keys()
                .flat_map(|start| self.windows.window_ends(*start))
                .filter(|end| *end > self.progress.fired_ms && *end <= until_ms)
                .collect();
            for end in ends {
                let table = self.window(end)?;
                self.emit(end, table, next)?;
            }
        }
        self.progress.fired_ms = self.progress.fired_ms.max(until_ms);
        let (windows, fired) = (self.windows, self.progress.fired_ms);
        self.panes.retain(|start, _| windows.last_window_end(*start).is_some_and(|end| end > fired));
        self.find_next_end();
        Ok(())
    }

    fn find_next_end(&mut self) {
        let open = |start: &i64| self.windows.window_ends(*start).find(|end| *end > self.progress.fired_ms);
        self.next_end_ms = self.panes.keys().filter_map(open).min().unwrap_or(i64::MAX);
    }

    /// The aggregates of the window that ends here. Panes that no later window needs are used up.
    fn window(&mut self, end: i64) -> Result<Table> {
        let start = self.windows.window_start(end);
        let mut panes = self.panes.range_mut(start..end);
        let (first, more) = (panes.next().map(|(start, _)| *start), panes.next().is_some());
        if let Some(only) = first
            && !more
            && self.windows.last_window_end(only) == Some(end)
            && let Some(pane) = self.panes.remove(&only)
        {
            return pane.into_table(&self.kernel);
        }
        let mut table = Table::new(&self.kernel)?;
        for (start, pane) in self.panes.range_mut(start..end) {
            pane.merge_into(&mut table, &self.kernel, *start, self.key_groups)?;
        }
        Ok(table)
    }

    fn emit(&self, end: i64, table: Table, next: &mut Next<'_>) -> Result<()> {
        let rows = table.len();
        let (keys, results) = table.into_results()?;
        let ends = vec![end; rows];
        let column = |(output, field): (&OutputColumn, &Arc<arrow::datatypes::Field>)| -> Option<ArrayRef> {
            match output {
                OutputColumn::Key(at) => keys.get(*at as usize).cloned(),
                OutputColumn::Aggregate(at) => results.get(*at as usize).cloned(),
                OutputColumn::Bound(bound) => {
                    Some(border_column(&self.windows, *bound, &ends, field.data_type()))
                }
            }
        };
        let columns: Option<Vec<ArrayRef>> =
            self.output.iter().zip(self.schema.fields()).map(column).collect();
        let columns =
            columns.ok_or_else(|| DataFusionError::Internal("a window lacks a column".to_owned()))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        for offset in (0..rows).step_by(BATCH_ROWS) {
            next.rows(batch.slice(offset, BATCH_ROWS.min(rows - offset)))?;
        }
        Ok(())
    }
}

impl Operator for WindowAggregate {
    fn rows(&mut self, batch: RecordBatch, _: &mut Next<'_>) -> Result<()> {
        self.take(batch)
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        self.fire(watermark.open_from_ms(), next)?;
        if watermark == Watermark::END {
            self.progress.tell_late();
        }
        next.watermark(watermark)
    }

    fn hand_on_late(&mut self, to: LateRows) {
        self.progress.hand_on_late(to);
    }

    fn late_rows(&self) -> u64 {
        self.progress.late_rows()
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        for (start, pane) in &mut self.panes {
            let parts = pane.freeze(&self.kernel, *start, self.key_groups)?;
            parts.iter().for_each(|part| snapshot.chunk(part));
        }
        snapshot.value = Some(encode_value(&self.progress));
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        self.progress.restore(&restored.values)?;
        for chunk in restored.chunks {
            let of_pane =
                check_schema(&chunk.rows, self.kernel.state_schema())?.column(self.kernel.pane_column());
            let Some(start) = of_pane.as_primitive::<Int64Type>().values().first().copied() else { continue };
            self.panes.entry(start).or_default().restore(chunk);
        }
        self.find_next_end();
        self.memory.try_resize(self.panes.values().map(Pane::bytes).sum())
    }
}
