//! Joins rows of the same window: both sides are kept until it is complete, then joined by a batch join.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::Result,
    execution::memory_pool::MemoryReservation,
    physical_plan::{
        ExecutionPlan,
        joins::{HashJoinExec, PartitionMode},
    },
};

use super::{
    held_rows::HeldRows,
    link::{Next, PairOperator, Side},
    progress::Progress,
    sub_plan::SubPlan,
};
use crate::{
    state::{Restored, Snapshot, check_schema, encode_value},
    watermark::Watermark,
};

/// Joins the rows of complete windows; of as many of them at once as are complete.
pub struct WindowJoin {
    plan: SubPlan,
    /// The same join with its sides exchanged: the smaller one is to be in the hash table.
    swapped: Option<Arc<dyn ExecutionPlan>>,
    left: HeldRows,
    right: HeldRows,
    /// The columns of the sides.
    inputs: [SchemaRef; 2],
    progress: Progress,
    memory: MemoryReservation,
}

/// The tables of its state.
pub const LEFT: u16 = 0;
/// The other one.
pub const RIGHT: u16 = 1;

impl WindowJoin {
    /// The join over rows with the columns of `inputs`.
    pub fn new(
        plan: SubPlan,
        left: HeldRows,
        right: HeldRows,
        inputs: [SchemaRef; 2],
        memory: MemoryReservation,
    ) -> Result<Self> {
        // One that treats NULL in its own way has a fixed side.
        let hash_join = plan.plan().downcast_ref::<HashJoinExec>().filter(|join| !join.null_aware);
        let swapped = hash_join.map(|join| join.swap_inputs(PartitionMode::CollectLeft)).transpose()?;
        Ok(Self { plan, swapped, left, right, inputs, progress: Progress::default(), memory })
    }

    fn join(&self, left: Vec<RecordBatch>, right: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        let count = |side: &[RecordBatch]| side.iter().map(RecordBatch::num_rows).sum::<usize>();
        match &self.swapped {
            Some(swapped) if count(&right) < count(&left) => self.plan.run(swapped, vec![right, left]),
            _ => self.plan.run(self.plan.plan(), vec![left, right]),
        }
    }

    fn bytes(&self) -> usize {
        self.left.bytes() + self.right.bytes()
    }
}

impl PairOperator for WindowJoin {
    fn rows(&mut self, side: Side, batch: RecordBatch, _: &mut Next<'_>) -> Result<()> {
        let rows = match side {
            Side::Left => &mut self.left,
            Side::Right => &mut self.right,
        };
        self.progress.late += rows.add(batch, self.progress.fired_ms)?;
        self.memory.try_resize(self.bytes())
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        let until_ms = watermark.open_from_ms();
        let (left, right) = (self.left.take_until(until_ms)?, self.right.take_until(until_ms)?);
        if !left.is_empty() || !right.is_empty() {
            for batch in self.join(left, right)? {
                next.rows(batch)?;
            }
            self.memory.try_resize(self.bytes())?;
        }
        self.progress.fired_ms = self.progress.fired_ms.max(until_ms);
        if watermark == Watermark::END {
            self.progress.tell_late();
        }
        next.watermark(watermark)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        let mut snapshot = Snapshot { value: Some(encode_value(&self.progress)), ..Snapshot::default() };
        self.left.chunks()?.iter().for_each(|chunk| snapshot.chunk(chunk));
        self.right.chunks()?.iter().for_each(|chunk| snapshot.chunk(chunk));
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        self.progress.restore(&restored.values)?;
        for chunk in restored.chunks {
            let (rows, schema) = match chunk.table {
                LEFT => (&mut self.left, &self.inputs[0]),
                _ => (&mut self.right, &self.inputs[1]),
            };
            check_schema(&chunk.rows, schema)?;
            rows.restore(chunk)?;
        }
        self.memory.try_resize(self.bytes())
    }
}
