//! One pane: a table that takes what comes, and the states that were drained from it.

use arrow::array::Array as _;
use datafusion::error::Result;

use super::{
    kernel::{Input, Kernel},
    table::{Of, Table},
};

/// The aggregates of one pane.
#[derive(Default)]
pub struct Pane {
    live: Option<Table>,
    /// Of a pane that several windows need: its states so far, in parts.
    frozen: Vec<Input>,
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

    /// The table, where nothing was drained from it before: of a pane that is a window.
    pub fn into_table(mut self, kernel: &Kernel) -> Result<Table> {
        if self.frozen.is_empty() {
            return self.live.take().map_or_else(|| Table::new(kernel), Ok);
        }
        let mut table = Table::new(kernel)?;
        self.merge_into(&mut table)?;
        Ok(table)
    }

    /// Adds what it has to the table of a window; it stays for the next window.
    pub fn merge_into(&mut self, window: &mut Table) -> Result<()> {
        if let Some(live) = self.live.take() {
            let rows = live.len();
            let (keys, values) = live.into_states()?;
            let filters = vec![None; values.len()];
            self.frozen.push(Input { keys, values, filters, rows });
        }
        self.frozen.iter().try_for_each(|states| window.add(states, Of::States))
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        let columns = |input: &Input| -> usize {
            let all = input.keys.iter().chain(input.values.iter().flatten());
            all.map(|column| column.get_array_memory_size()).sum()
        };
        self.live.as_ref().map_or(0, Table::bytes) + self.frozen.iter().map(columns).sum::<usize>()
    }
}
