//! Joins rows of the same window: both sides are kept until it is complete, then joined by a batch join.

use arrow::array::RecordBatch;
use datafusion::{error::Result, execution::memory_pool::MemoryReservation};

use super::{
    late_rows::LateRows,
    link::{Next, PairOperator, Side},
    progress::Progress,
    two_sides::{BatchJoin, TwoSides},
};
use crate::{
    state::{Restored, Snapshot, encode_value},
    watermark::Watermark,
};

/// Joins the rows of complete windows; of as many of them at once as are complete.
pub struct WindowJoin {
    plan: BatchJoin,
    sides: TwoSides,
    progress: Progress,
    memory: MemoryReservation,
}

impl WindowJoin {
    /// The join of rows that are held by the ends of their windows.
    pub fn new(plan: BatchJoin, sides: TwoSides, memory: MemoryReservation) -> Self {
        Self { plan, sides, progress: Progress::default(), memory }
    }
}

impl PairOperator for WindowJoin {
    fn rows(&mut self, side: Side, batch: RecordBatch, _: &mut Next<'_>) -> Result<()> {
        self.sides.of(side).add(batch, &mut self.progress)?;
        self.memory.try_resize(self.sides.bytes())
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        let until_ms = watermark.open_from_ms();
        let (left, right) = (self.sides.left.take_until(until_ms)?, self.sides.right.take_until(until_ms)?);
        if !left.is_empty() || !right.is_empty() {
            for batch in self.plan.join(left, right)? {
                next.rows(batch)?;
            }
            self.memory.try_resize(self.sides.bytes())?;
        }
        self.progress.fired_ms = self.progress.fired_ms.max(until_ms);
        if watermark == Watermark::END {
            self.progress.tell_late();
        }
        next.watermark(watermark)
    }

    fn hand_on_late(&mut self, to: LateRows) {
        self.progress.hand_on_late(to);
    }

    fn late_rows(&self) -> u64 {
        self.progress.late_rows()
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot { value: Some(encode_value(&self.progress)), ..Snapshot::default() };
        self.sides.snapshot(&mut snapshot)?;
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        self.progress.restore(&restored.values)?;
        self.sides.restore(restored.chunks)?;
        self.memory.try_resize(self.sides.bytes())
    }
}
