//! Puts each row out several times, each time with other columns computed.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::{
    calc::Calc,
    link::{Next, Operator},
};

/// Calcs side by side: every row passes all of them.
pub struct Expand(pub Vec<Calc>);

impl Operator for Expand {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        self.0.iter_mut().try_for_each(|calc| calc.rows(batch.clone(), next))
    }
}
