//! What operators have in common, and how one hands on to the next.

use arrow::array::RecordBatch;
use datafusion::error::Result;

use super::late_rows::LateRows;
use crate::{
    state::{Restored, Snapshot},
    watermark::Watermark,
};

/// What moves through a chain.
#[derive(Debug, Clone)]
pub enum Element {
    /// Rows; at least one.
    Rows(RecordBatch),
    /// How far event time has come.
    Watermark(Watermark),
    /// Nothing is said about event time for the time being.
    Idle,
}

/// One step of a chain.
pub trait Operator: Send {
    /// Takes rows.
    fn rows(&mut self, batch: RecordBatch, next: &mut Next<'_>) -> Result<()>;

    /// Takes a watermark, which never falls. Whatever follows from it goes before it.
    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        next.watermark(watermark)
    }

    /// Takes note that nothing is said about event time for the time being.
    fn idle(&mut self, next: &mut Next<'_>) -> Result<()> {
        next.idle()
    }

    /// The rows that come now are of this split of the source. Asked of the operators of a source's vertex only.
    fn split(&mut self, _split: SplitChange, _next: &mut Next<'_>) -> Result<()> {
        Ok(())
    }

    /// A barrier is next: hands on what is held back and need not be kept.
    fn before_barrier(&mut self, _next: &mut Next<'_>) -> Result<()> {
        Ok(())
    }

    /// Gives its state, as it is at the barrier. It is called between two batches, so it must not take long: rows that are there
    /// already are shared, not copied.
    fn snapshot(&mut self) -> Result<Snapshot> {
        Ok(Snapshot::default())
    }

    /// Takes its state back, before anything else comes. Not called in a job that begins.
    fn restore(&mut self, _restored: Restored) -> Result<()> {
        Ok(())
    }

    /// Whether nothing that may still come can change what it puts out: its input may as well have ended.
    fn is_over(&self) -> bool {
        false
    }

    /// Rows that have come too late and were left out since it was made.
    fn late_rows(&self) -> u64 {
        0
    }

    /// From now on somebody wants the rows that come too late. Asked of operators that leave such out.
    fn hand_on_late(&mut self, _to: LateRows) {}

    /// Whether its state may be larger than memory: then it is taken back a chunk at a time, by as many calls.
    fn takes_state_in_parts(&self) -> bool {
        false
    }

    /// When it wants to be woken next, in milliseconds since 1970: for what depends on the time of day.
    fn wake_at_ms(&self) -> Option<i64> {
        None
    }

    /// It is now so late.
    fn wake(&mut self, _now_ms: i64, _next: &mut Next<'_>) -> Result<()> {
        Ok(())
    }
}

/// What a source's vertex is told of its splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitChange {
    /// A split begins: event time does not pass it by.
    Begin(u32),
    /// The rows that follow are of this one.
    Rows(u32),
    /// Nothing comes of this one for the time being: event time does not wait for it until rows come.
    Idle(u32),
    /// It has ended.
    End(u32),
}

/// One of the two inputs of a [`PairOperator`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

/// An operator of two inputs: it stands before a chain. The watermark is that of both together.
pub trait PairOperator: Send {
    /// Takes rows of one side.
    fn rows(&mut self, side: Side, batch: RecordBatch, next: &mut Next<'_>) -> Result<()>;

    /// Takes a watermark, as [`Operator::watermark`].
    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()>;

    /// Rows that have come too late, as [`Operator::late_rows`].
    fn late_rows(&self) -> u64 {
        0
    }

    /// Where such rows go, as [`Operator::hand_on_late`].
    fn hand_on_late(&mut self, _to: LateRows) {}

    /// Gives its state, as [`Operator::snapshot`].
    fn snapshot(&mut self) -> Result<Snapshot>;

    /// Whether its state may be larger than memory, as [`Operator::takes_state_in_parts`].
    fn takes_state_in_parts(&self) -> bool {
        false
    }

    /// Takes its state back, as [`Operator::restore`].
    fn restore(&mut self, restored: Restored) -> Result<()>;
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

    /// Hands on that nothing is said about event time for the time being.
    pub fn idle(&mut self) -> Result<()> {
        match self.operators.split_first_mut() {
            Some((first, rest)) => first.idle(&mut Next::new(rest, self.out)),
            None => {
                self.out.push(Element::Idle);
                Ok(())
            }
        }
    }
}
