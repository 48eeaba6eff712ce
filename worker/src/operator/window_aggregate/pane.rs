//! One pane: a table that takes what comes, and the states that were drained from it.

use std::sync::Arc;

use arrow::{
    array::{Int64Array, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use datafusion::error::Result;

use super::{
    kernel::{Input, Kernel},
    table::{Of, Table},
};
use crate::state::{StateChunk, key_group::key_groups};

/// States of one pane in more parts than this are put together.
const PARTS_MAX: usize = 8;

/// The aggregates of one pane.
#[derive(Default)]
pub struct Pane {
    live: Option<Table>,
    /// Its states so far, in parts: drained when a checkpoint or one of several windows needed them.
    frozen: Vec<Arc<StateChunk>>,
}

impl Pane {
    /// Takes rows or states.
    pub fn add(&mut self, kernel: &Kernel, input: &Input, of: Of) -> Result<()> {
        let live = match &mut self.live {
            Some(live) => live,
            None => self.live.insert(Table::new(kernel)?),
        };
        live.add(input, of)
    }

    /// Takes back states that were drained.
    pub fn restore(&mut self, chunk: Arc<StateChunk>) {
        self.frozen.push(chunk);
    }

    /// Drains its table. Afterwards its states are chunks and do not change.
    pub fn freeze(&mut self, kernel: &Kernel, start: i64, groups: u16) -> Result<&[Arc<StateChunk>]> {
        if self.frozen.len() >= PARTS_MAX {
            let mut whole = Table::new(kernel)?;
            self.frozen.iter().try_for_each(|part| whole.add(&kernel.states(&part.rows), Of::States))?;
            if let Some(live) = self.live.take() {
                let states = states_of(live, start, kernel.state_schema())?;
                whole.add(&kernel.states(&states), Of::States)?;
            }
            self.frozen.clear();
            self.live = Some(whole);
        }
        if let Some(live) = self.live.take() {
            let rows = states_of(live, start, kernel.state_schema())?;
            let keys = &rows.columns()[..kernel.pane_column()];
            let key_groups = key_groups(keys, rows.num_rows(), groups)?;
            self.frozen.push(StateChunk::new(0, rows, key_groups));
        }
        Ok(&self.frozen)
    }

    /// The table, where nothing was drained from it before: of a pane that is a window.
    pub fn into_table(mut self, kernel: &Kernel) -> Result<Table> {
        let mut table = match self.live.take() {
            Some(live) => live,
            None => Table::new(kernel)?,
        };
        self.frozen.iter().try_for_each(|part| table.add(&kernel.states(&part.rows), Of::States))?;
        Ok(table)
    }

    /// Adds what it has to the table of a window; it stays for the next window.
    pub fn merge_into(&mut self, window: &mut Table, kernel: &Kernel, start: i64, groups: u16) -> Result<()> {
        let parts = self.freeze(kernel, start, groups)?;
        parts.iter().try_for_each(|part| window.add(&kernel.states(&part.rows), Of::States))
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        let frozen: usize = self.frozen.iter().map(|part| part.bytes()).sum();
        self.live.as_ref().map_or(0, Table::bytes) + frozen
    }
}

/// A table's keys, the start of their pane, and states.
pub fn states_of(table: Table, start: i64, schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = table.len();
    let (mut columns, states) = table.into_states()?;
    columns.push(Arc::new(Int64Array::from(vec![start; rows])));
    columns.extend(states.into_iter().flatten());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    // The names differ from edge to edge and the types do not.
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
