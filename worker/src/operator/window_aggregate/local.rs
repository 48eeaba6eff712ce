//! Aggregates rows by pane before they are sent to where windows are put together.

use std::collections::BTreeMap;

use arrow::{
    array::{Array as _, RecordBatch},
    datatypes::SchemaRef,
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation};
use thalweg_plan::panes::Panes;

use super::{
    kernel::{Kernel, by_pane},
    pane::states_of,
    table::{Of, Table},
};
use crate::{
    operator::{
        link::{Next, Operator},
        times::times,
    },
    watermark::Watermark,
};

/// Keys of all panes together above which they are sent before their time: a table that falls out of the caches saves nothing.
const KEYS_MAX: usize = 256 << 10;

/// The first phase of an aggregation by windows. It knows no late rows: whether one is, is decided where all inputs meet.
pub struct LocalWindowAggregate {
    kernel: Kernel,
    windows: Panes,
    time: usize,
    schema: SchemaRef,
    panes: BTreeMap<i64, Table>,
    memory: MemoryReservation,
}

impl LocalWindowAggregate {
    /// An aggregation of rows whose time is in the column `time`, to states with the columns of `schema`.
    pub fn new(
        kernel: Kernel,
        windows: Panes,
        time: usize,
        schema: SchemaRef,
        memory: MemoryReservation,
    ) -> Self {
        Self { kernel, windows, time, schema, panes: BTreeMap::new(), memory }
    }

    fn send(&self, start: i64, table: Table, next: &mut Next<'_>) -> Result<()> {
        next.rows(states_of(table, start, &self.schema)?)
    }

    fn send_all(&mut self, next: &mut Next<'_>) -> Result<()> {
        while let Some((start, table)) = self.panes.pop_first() {
            self.send(start, table, next)?;
        }
        Ok(())
    }
}

impl Operator for LocalWindowAggregate {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let times = times(batch.column(self.time))?.clone();
        let pane_of = |row: usize| times.is_valid(row).then(|| self.windows.pane_start(times.value(row)));
        for (start, rows) in by_pane(batch, pane_of)? {
            let input = self.kernel.rows(&rows)?;
            let table = match self.panes.entry(start) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(Table::new(&self.kernel)?),
            };
            table.add(&input, Of::Rows)?;
        }
        let keys: usize = self.panes.values().map(Table::len).sum();
        let bytes = self.panes.values().map(Table::bytes).sum();
        if keys > KEYS_MAX || self.memory.try_resize(bytes).is_err() {
            self.send_all(next)?;
            self.memory.free();
        }
        Ok(())
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        let open_from = watermark.open_from_ms();
        while let Some(first) = self.panes.first_entry() {
            if first.key().saturating_add(self.windows.pane_ms()) > open_from {
                break;
            }
            let (start, table) = first.remove_entry();
            self.send(start, table, next)?;
        }
        next.watermark(watermark)
    }

    /// What is sent before the barrier is kept where it arrives.
    fn before_barrier(&mut self, next: &mut Next<'_>) -> Result<()> {
        self.send_all(next)?;
        self.memory.free();
        Ok(())
    }
}
