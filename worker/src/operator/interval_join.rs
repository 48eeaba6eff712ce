//! Joins rows whose times are not further apart than bounds say.

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

/// Joins each row when it comes with those of the other side that are there, and holds it as long as one may come that it joins.
///
/// Event time behind it is as far behind that before it as the times of two rows can be apart: both are times of the joined row.
pub struct IntervalJoin {
    plan: BatchJoin,
    sides: TwoSides,
    bounds: Bounds,
    progress: Progress,
    memory: MemoryReservation,
}

/// By how many milliseconds the left row's time may be after the right row's.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// At least; before it where this is negative.
    pub lower_ms: i64,
    /// At most.
    pub upper_ms: i64,
}

impl IntervalJoin {
    /// The join, whose condition says no less than the bounds do.
    pub fn new(plan: BatchJoin, sides: TwoSides, bounds: Bounds, memory: MemoryReservation) -> Self {
        Self { plan, sides, bounds, progress: Progress::default(), memory }
    }

    fn held_back(&self, watermark: Watermark) -> Watermark {
        let by = self.bounds.upper_ms.max(-self.bounds.lower_ms).max(0);
        if watermark == Watermark::END { watermark } else { Watermark(watermark.0.saturating_sub(by)) }
    }
}

impl PairOperator for IntervalJoin {
    fn rows(&mut self, side: Side, batch: RecordBatch, next: &mut Next<'_>) -> Result<()> {
        let batch = self.sides.of(side).in_time(batch, &mut self.progress)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let (left, right) = match side {
            Side::Left => (vec![batch.clone()], self.sides.right.rows().cloned().collect()),
            Side::Right => (self.sides.left.rows().cloned().collect(), vec![batch.clone()]),
        };
        if !left.is_empty() && !right.is_empty() {
            for joined in self.plan.join(left, right)? {
                next.rows(joined)?;
            }
        }
        self.sides.of(side).hold(batch)?;
        self.memory.try_resize(self.sides.bytes())
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        let Watermark(ms) = watermark;
        let (left_ms, right_ms) = match watermark == Watermark::END {
            true => (ms, ms),
            false => (ms.saturating_add(self.bounds.lower_ms), ms.saturating_sub(self.bounds.upper_ms)),
        };
        self.sides.left.take_until(left_ms)?;
        self.sides.right.take_until(right_ms)?;
        self.memory.try_resize(self.sides.bytes())?;
        self.progress.advance(watermark);
        next.watermark(self.held_back(watermark))
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
