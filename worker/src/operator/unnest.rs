//! Repeats each row for every item of an array or map of its.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::{
    link::{Next, Operator},
    sub_plan::SubPlan,
};

/// The plan that does so for some rows.
pub struct Unnest(pub SubPlan);

impl Operator for Unnest {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let made = self.0.run(self.0.plan(), vec![vec![batch]])?;
        made.into_iter().try_for_each(|rows| next.rows(rows))
    }
}
