//! What is computed of all rows of a window at once: they are kept until it is complete, then a plan is run over them.

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation};

use super::{
    held_rows::HeldRows,
    late_rows::LateRows,
    link::{Next, Operator},
    progress::Progress,
    sub_plan::SubPlan,
};
use crate::{
    state::{Restored, Snapshot, check_schema, encode_value},
    watermark::Watermark,
};

/// Runs a plan over the rows of complete windows; of as many of them at once as are complete.
pub struct WithinWindows {
    plan: SubPlan,
    rows: HeldRows,
    /// The columns of rows.
    input: SchemaRef,
    progress: Progress,
    memory: MemoryReservation,
}

impl WithinWindows {
    /// The plan over rows with the columns of `input`.
    pub fn new(plan: SubPlan, rows: HeldRows, input: SchemaRef, memory: MemoryReservation) -> Self {
        Self { plan, rows, input, progress: Progress::default(), memory }
    }
}

impl Operator for WithinWindows {
    fn rows(&mut self, batch: RecordBatch, _: &mut Next<'_>) -> Result<()> {
        self.rows.add(batch, &mut self.progress)?;
        self.memory.try_resize(self.rows.bytes())
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        let until_ms = watermark.open_from_ms();
        let rows = self.rows.take_until(until_ms)?;
        if !rows.is_empty() {
            for batch in self.plan.run(self.plan.plan(), vec![rows])? {
                next.rows(batch)?;
            }
            self.memory.try_resize(self.rows.bytes())?;
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
        self.rows.chunks()?.iter().for_each(|chunk| snapshot.chunk(chunk));
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        self.progress.restore(&restored.values)?;
        for chunk in restored.chunks {
            check_schema(&chunk.rows, &self.input)?;
            self.rows.restore(chunk)?;
        }
        self.memory.try_resize(self.rows.bytes())
    }
}
