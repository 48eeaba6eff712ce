//! The rows of one key that later ones are aggregated with, and its accumulators.

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::TimestampMillisecondType;
use datafusion::{common::ScalarValue, error::Result, logical_expr::Accumulator};

use super::frame::{Frame, Function};

/// What is kept of a key.
pub struct Key {
    /// The rows that may be in a frame of a later row, and the last one: keys, time, arguments.
    pub kept: RecordBatch,
    /// For each function the rows of `kept` from which on they are in its accumulator, and that.
    functions: Vec<Running>,
}

struct Running {
    from: usize,
    accumulator: Box<dyn Accumulator>,
}

/// Where the columns of rows are.
#[derive(Debug, Clone)]
pub struct Columns {
    /// That of the time.
    pub time: usize,
    /// Those of each function's arguments.
    pub arguments: Vec<std::ops::Range<usize>>,
}

impl Key {
    /// A key with rows as they were kept, and the states of the accumulators of unbounded frames.
    pub fn new(functions: &[Function], columns: &Columns, kept: RecordBatch) -> Result<Self> {
        let mut running = Vec::with_capacity(functions.len());
        let times = times_of(&kept, columns.time);
        for (function, arguments) in functions.iter().zip(&columns.arguments) {
            let mut accumulator = function.accumulator()?;
            let from = match times.len().checked_sub(1) {
                Some(last) if function.frame.is_bounded() => function.frame.first(times, last),
                _ => times.len(),
            };
            if from < times.len() {
                accumulator.update_batch(&slices(&kept, arguments.clone(), from..times.len()))?;
            }
            running.push(Running { from, accumulator });
        }
        Ok(Self { kept, functions: running })
    }

    /// Gives the accumulator of a function its state back.
    pub fn merge_state(&mut self, function: usize, state: &[ArrayRef]) -> Result<()> {
        self.functions[function].accumulator.merge_batch(state)
    }

    /// The state of the accumulator of a function whose frame is unbounded.
    pub fn state(&mut self, functions: &[Function], function: usize) -> Result<Vec<ScalarValue>> {
        let accumulator = &mut self.functions[function].accumulator;
        let state = accumulator.state()?;
        // Some give their state away.
        let mut again = functions[function].accumulator()?;
        let columns = state.iter().map(|value| value.to_array()).collect::<Result<Vec<_>>>()?;
        again.merge_batch(&columns)?;
        *accumulator = again;
        Ok(state)
    }

    /// Takes the next rows of the key, in the order of their times; gives the results of each function for them.
    pub fn take(
        &mut self,
        functions: &[Function],
        columns: &Columns,
        rows: &RecordBatch,
    ) -> Result<Vec<Vec<ScalarValue>>> {
        let before = self.kept.num_rows();
        let all = match before {
            0 => rows.clone(),
            _ => concat_batches(&rows.schema(), [&self.kept, rows])?,
        };
        let times = times_of(&all, columns.time).to_vec();
        let mut results = Vec::with_capacity(functions.len());
        for (at, function) in functions.iter().enumerate() {
            let arguments = columns.arguments[at].clone();
            results.push(self.functions[at].take(function, &all, arguments, &times, before)?);
        }
        self.keep(functions, all, &times);
        Ok(results)
    }

    /// Keeps those rows that may be in the frame of a row that follows.
    fn keep(&mut self, functions: &[Function], all: RecordBatch, times: &[i64]) {
        let bounded =
            functions.iter().zip(&self.functions).filter(|(function, _)| function.frame.is_bounded());
        // The last one stays in any case: it says which key this is.
        let last = times.len().saturating_sub(1);
        let first = bounded.map(|(_, running)| running.from).fold(last, usize::min);
        self.kept = match first {
            0 => all,
            // A slice would hold on to all of it.
            _ => copied(&all, first),
        };
        for (function, running) in functions.iter().zip(&mut self.functions) {
            running.from = match function.frame.is_bounded() {
                true => running.from - first,
                false => self.kept.num_rows(),
            };
        }
    }

    /// Whether no row after this time has any of its rows in a frame.
    pub fn is_over(&self, functions: &[Function], columns: &Columns, time_ms: i64) -> bool {
        let last = times_of(&self.kept, columns.time).last();
        functions.iter().all(|function| match function.frame {
            Frame::Range(Some(before)) => last.is_none_or(|last| last.saturating_add(before) < time_ms),
            _ => false,
        })
    }
}

impl Running {
    fn take(
        &mut self,
        function: &Function,
        all: &RecordBatch,
        arguments: std::ops::Range<usize>,
        times: &[i64],
        before: usize,
    ) -> Result<Vec<ScalarValue>> {
        let mut results = Vec::with_capacity(times.len() - before);
        let mut end = before;
        let retracts = self.accumulator.supports_retract_batch();
        if !function.frame.is_bounded() {
            self.from = before;
        }
        for row in before..times.len() {
            let row_end = function.frame.end(times, row);
            if row_end > end {
                let first =
                    if function.frame.is_bounded() { function.frame.first(times, row) } else { self.from };
                if !function.frame.is_bounded() || retracts {
                    self.accumulator.update_batch(&slices(all, arguments.clone(), end..row_end))?;
                    if first > self.from {
                        self.accumulator.retract_batch(&slices(all, arguments.clone(), self.from..first))?;
                    }
                } else {
                    self.accumulator = function.accumulator()?;
                    self.accumulator.update_batch(&slices(all, arguments.clone(), first..row_end))?;
                }
                self.from = first;
                end = row_end;
                results.push(self.accumulator.evaluate()?);
            } else if let Some(last) = results.last().cloned() {
                // Of the same time as the row before.
                results.push(last);
            }
        }
        Ok(results)
    }
}

fn slices(
    rows: &RecordBatch,
    columns: std::ops::Range<usize>,
    range: std::ops::Range<usize>,
) -> Vec<ArrayRef> {
    rows.columns()[columns].iter().map(|column| column.slice(range.start, range.len())).collect()
}

fn copied(rows: &RecordBatch, first: usize) -> RecordBatch {
    let rest = rows.slice(first, rows.num_rows() - first);
    let indices = arrow::array::UInt32Array::from_iter_values(0..rest.num_rows() as u32);
    arrow::compute::take_record_batch(&rest, &indices).unwrap_or(rest)
}

/// The times of rows, none of which is NULL.
pub fn times_of(rows: &RecordBatch, column: usize) -> &[i64] {
    let times = rows.column(column).as_primitive_opt::<TimestampMillisecondType>();
    times.map_or(&[], |times| times.values())
}
