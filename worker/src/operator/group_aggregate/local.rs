//! Gathers rows before all rows of a key meet: of many rows of a key one partial aggregate goes on.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation};
use thalweg_plan::stream::MiniBatch;

use super::{
    choice::values_of,
    values::{Rows, Values, gather},
};
use crate::{
    operator::{
        changelog,
        key_table::KeyTable,
        link::{Next, Operator},
        window_aggregate::Kernel,
    },
    wall_clock::now_ms,
    watermark::Watermark,
};

/// Rows that go on at once.
const BATCH_ROWS: usize = 8192;

/// The first phase of an aggregation without windows, which keeps nothing over a barrier.
pub struct LocalGroupAggregate {
    kernel: Kernel,
    schema: SchemaRef,
    keys: KeyTable,
    /// The sum of the weights of each group's rows.
    weights: Vec<i64>,
    values: Vec<Box<dyn Values>>,
    mini_batch: MiniBatch,
    /// Rows that were gathered, and since when.
    rows: u64,
    since_ms: Option<i64>,
    memory: MemoryReservation,
}

impl LocalGroupAggregate {
    /// An aggregation of rows into partial aggregates with the columns of `schema`.
    pub fn new(
        kernel: Kernel,
        mini_batch: MiniBatch,
        schema: SchemaRef,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let key_schema = Arc::clone(kernel.key_schema());
        let mut values = Vec::with_capacity(kernel.functions().len());
        for (at, function) in kernel.functions().iter().enumerate() {
            // What is taken back of it may have come in an earlier part.
            values.push(values_of(function, &kernel.argument_types(at)?, at, &key_schema, false)?);
        }
        Ok(Self {
            kernel,
            schema,
            keys: KeyTable::new(key_schema)?,
            weights: Vec::new(),
            values,
            mini_batch,
            rows: 0,
            since_ms: None,
            memory,
        })
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let (rows, weights) = changelog::split(batch)?;
        let input = self.kernel.rows(&rows)?;
        self.keys.intern(&input.keys, input.rows)?;
        self.weights.resize(self.keys.count(), 0);
        for values in &mut self.values {
            values.resize(self.keys.count());
        }
        let groups = self.keys.numbers();
        for (row, group) in groups.iter().enumerate() {
            self.weights[*group] += changelog::weight(&weights, row);
        }
        for (values, (columns, mask)) in self.values.iter_mut().zip(input.values.iter().zip(&input.filters)) {
            let filter = Rows::filter(mask.as_ref());
            values.update(&Rows { groups, columns, filter, weights: weights.as_ref() })?;
        }
        self.rows += input.rows as u64;
        self.since_ms.get_or_insert_with(now_ms);
        Ok(())
    }

    /// Sends what was gathered.
    fn send(&mut self, next: &mut Next<'_>) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let groups: Vec<u32> = (0..self.keys.count() as u32).collect();
        for part in groups.chunks(BATCH_ROWS) {
            let mut columns: Vec<ArrayRef> = self.keys.take(part)?;
            columns.push(Arc::new(Int64Array::from(gather(&self.weights, part))));
            for values in &mut self.values {
                columns.extend(values.states(part)?);
            }
            let options = RecordBatchOptions::new().with_row_count(Some(part.len()));
            next.rows(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)?;
        }
        self.keys = KeyTable::new(Arc::clone(self.kernel.key_schema()))?;
        self.weights.clear();
        for values in &mut self.values {
            values.keep(&[])?;
        }
        self.memory.free();
        (self.rows, self.since_ms) = (0, None);
        Ok(())
    }

    fn bytes(&self) -> usize {
        let values: usize = self.values.iter().map(|values| values.bytes()).sum();
        self.keys.bytes() + self.weights.capacity() * size_of::<i64>() + values
    }
}

impl Operator for LocalGroupAggregate {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        self.take(&batch)?;
        let is_full = self.rows >= self.mini_batch.rows;
        if is_full || self.memory.try_resize(self.bytes()).is_err() {
            self.send(next)?;
        }
        Ok(())
    }

    /// Results of all rows that there are know no event time: rows wait beyond a watermark, but not beyond the last.
    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        if watermark == Watermark::END {
            self.send(next)?;
        }
        next.watermark(watermark)
    }

    fn before_barrier(&mut self, next: &mut Next<'_>) -> Result<()> {
        self.send(next)
    }

    fn wake_at_ms(&self) -> Option<i64> {
        let wait_ms = i64::try_from(self.mini_batch.wait_ms).unwrap_or(i64::MAX);
        self.since_ms.map(|since| since.saturating_add(wait_ms))
    }

    fn wake(&mut self, now_ms: i64, next: &mut Next<'_>) -> Result<()> {
        match self.wake_at_ms() {
            Some(at) if at <= now_ms => self.send(next),
            _ => Ok(()),
        }
    }
}
