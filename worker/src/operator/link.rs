//! What operators have in common, and how one hands on to the next.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use crate::watermark::Watermark;

/// What moves through a chain.
#[derive(Debug, Clone)]
pub enum Element {
    /// Rows; at least one.
    Rows(RecordBatch),
    /// How far event time has come.
    Watermark(Watermark),
}

/// One step of a chain.
pub trait Operator: Send {
    /// Takes rows.
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()>;

    /// Takes a watermark, which never falls. Whatever follows from it goes before it.
    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        next.watermark(watermark)
    }
}

/// The rest of a chain, behind an operator.
pub struct Next<'a> {
    operators: &'a mut [Box<dyn Operator>],
    out: &'a mut Vec<Element>,
}

impl<'a> Next<'a> {
    /// A chain whose last operator's results are put into `out`.
    pub fn new(operators: &'a mut [Box<dyn Operator>], out: &'a mut Vec<Element>) -> Self {
        Self { operators, out }
    }

    /// Hands on rows; none is nothing.
    pub fn rows(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        match self.operators.split_first_mut() {
            Some((first, rest)) => first.rows(batch, &mut Next::new(rest, self.out)),
            None => {
                self.out.push(Element::Rows(batch));
                Ok(())
            }
        }
    }

    /// Hands on a watermark.
    pub fn watermark(&mut self, watermark: Watermark) -> Result<()> {
        match self.operators.split_first_mut() {
            Some((first, rest)) => first.watermark(watermark, &mut Next::new(rest, self.out)),
            None => {
                self.out.push(Element::Watermark(watermark));
                Ok(())
            }
        }
    }
}
