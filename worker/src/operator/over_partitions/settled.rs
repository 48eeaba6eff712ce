//! Functions that look at the rows before each row, in the order of event time: what they give is known when event time has passed it.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{Array as _, RecordBatch, UInt32Array},
    compute::{concat_batches, filter_record_batch, is_not_null, sort_to_indices, take_record_batch},
    datatypes::SchemaRef,
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation, physical_expr::PhysicalExpr};

use super::partitions::Partitions;
use crate::{
    operator::{
        held_rows::HeldRows,
        late_rows::LateRows,
        link::{Next, Operator},
        progress::Progress,
        state_log::StateLog,
        sub_plan::SubPlan,
        times::times,
    },
    state::{Restored, Snapshot, check_schema, encode_value},
    watermark::Watermark,
};

/// The tables of its state: rows that event time has not passed, and rows that others are computed from.
const HELD: u16 = 0;
const KEPT: u16 = 1;

/// What is computed of which rows.
pub struct SettledShape {
    /// The functions: a plan over rows of some partitions.
    pub functions: SubPlan,
    /// What divides the rows.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The column with a row's time.
    pub time: usize,
    /// So many rows before a row are looked at; all of them where not given.
    pub history: Option<usize>,
    /// The columns of rows.
    pub input: SchemaRef,
}

/// Holds rows until event time has passed them, and puts each out once.
pub struct SettledOver {
    functions: SubPlan,
    time: usize,
    history: usize,
    input: SchemaRef,
    held: HeldRows,
    kept: Partitions,
    log: StateLog,
    progress: Progress,
    key_groups: u16,
    memory: MemoryReservation,
}

impl SettledOver {
    /// An operator of this shape.
    pub fn new(shape: SettledShape, key_groups: u16, memory: MemoryReservation) -> Result<Self> {
        let SettledShape { functions, keys, time, history, input } = shape;
        Ok(Self {
            functions,
            time,
            history: history.unwrap_or(usize::MAX),
            held: HeldRows::new(time, keys.clone(), HELD, key_groups),
            kept: Partitions::new(keys, &input, input.fields().len())?,
            log: StateLog::new(KEPT),
            input,
            progress: Progress::default(),
            key_groups,
            memory,
        })
    }

    /// Rows that have a time, in its order.
    fn in_order(&self, batches: &[RecordBatch]) -> Result<RecordBatch> {
        let rows = concat_batches(&self.input, batches)?;
        let rows = filter_record_batch(&rows, &is_not_null(rows.column(self.time))?)?;
        let order = sort_to_indices(rows.column(self.time), None, None)?;
        Ok(take_record_batch(&rows, &order)?)
    }

    /// Rows that event time has passed, with what is computed for them.
    fn settled(&mut self, rows: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let touched: BTreeSet<usize> = self.kept.of_rows(rows)?.into_iter().collect();
        let before: Vec<u32> =
            touched.iter().flat_map(|partition| self.kept.list(*partition)).copied().collect();
        let all = concat_batches(&self.input, [&self.kept.take(&before)?, rows])?;
        let mut made = Vec::new();
        for batch in self.functions.run(self.functions.plan(), vec![vec![all]])? {
            let times = times(batch.column(self.time))?;
            let is_new = |row: usize| times.is_valid(row) && times.value(row) > self.progress.fired_ms;
            let new: Vec<u32> =
                (0..batch.num_rows()).filter(|row| is_new(*row)).map(|row| row as u32).collect();
            made.push(take_record_batch(&batch, &UInt32Array::from(new))?);
        }
        self.kept.change(rows, self.history)?;
        self.log.push(rows.clone());
        if self.log.is_long(self.kept.len()) {
            self.log.clear();
            for part in self.kept.all_rows()? {
                self.log.push(part);
            }
        }
        Ok(made)
    }

    fn resize(&mut self) -> Result<()> {
        self.memory.try_resize(self.held.bytes() + self.kept.bytes() + self.log.bytes())
    }
}

impl Operator for SettledOver {
    fn rows(&mut self, batch: RecordBatch, _: &mut Next<'_>) -> Result<()> {
        self.held.add(batch, &mut self.progress)?;
        self.resize()
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        let Watermark(ms) = watermark;
        let passed = self.held.take_until(ms)?;
        let rows = self.in_order(&passed)?;
        if rows.num_rows() > 0 {
            for made in self.settled(&rows)? {
                next.rows(made)?;
            }
        }
        self.progress.advance(watermark);
        self.resize()?;
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
        self.held.chunks()?.iter().for_each(|chunk| snapshot.chunk(chunk));
        let kept = &self.kept;
        self.log.snapshot(&mut snapshot, self.key_groups, |batch| kept.keys_of(batch))?;
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        self.progress.restore(&restored.values)?;
        for chunk in restored.chunks {
            check_schema(&chunk.rows, &self.input)?;
            if chunk.table == HELD {
                self.held.restore(chunk)?;
                continue;
            }
            self.kept.change(&chunk.rows, self.history)?;
            self.log.restore(chunk);
        }
        self.resize()
    }
}
