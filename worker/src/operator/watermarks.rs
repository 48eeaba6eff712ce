//! Says how far event time has come, by an expression over the rows: `WATERMARK FOR t AS expression`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{array::RecordBatch, compute::max};
use datafusion::{error::Result, physical_expr::PhysicalExpr};

use super::{
    link::{Next, Operator},
    times::times,
};
use crate::watermark::Watermark;

/// The largest value that the expression has had, told at most once in an interval.
pub struct Watermarks {
    expression: Arc<dyn PhysicalExpr>,
    interval: Duration,
    largest: Option<i64>,
    told: Option<(Instant, i64)>,
}

impl Watermarks {
    /// Watermarks by `expression`; with an interval of zero behind every batch.
    pub fn new(expression: Arc<dyn PhysicalExpr>, interval: Duration) -> Self {
        Self { expression, interval, largest: None, told: None }
    }

    fn due(&self, largest: i64) -> bool {
        match self.told {
            None => true,
            Some((_, told)) if told >= largest => false,
            Some((when, _)) => when.elapsed() >= self.interval,
        }
    }
}

impl Operator for Watermarks {
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let values = self.expression.evaluate(&batch)?.into_array(batch.num_rows())?;
        self.largest = self.largest.max(max(times(&values)?));
        next.rows(batch)?;
        let Some(largest) = self.largest.filter(|largest| self.due(*largest)) else { return Ok(()) };
        self.told = Some((Instant::now(), largest));
        next.watermark(Watermark(largest))
    }

    /// What comes from below says nothing about this column, unless it is the end.
    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        if watermark == Watermark::END { next.watermark(watermark) } else { Ok(()) }
    }
}
