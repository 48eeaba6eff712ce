//! What comes out when event time has passed rows of the left side.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array},
    compute::{filter_record_batch, take, take_record_batch},
    datatypes::SchemaRef,
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation, physical_expr::PhysicalExpr};
use thalweg_plan::stream::changelog::is_updating;

use super::Versions;
use crate::{
    operator::{
        held_rows::HeldRows,
        keys::evaluated,
        late_rows::LateRows,
        link::{Next, PairOperator, Side},
        predicate::mask,
        progress::Progress,
        times::times,
        two_sides::LEFT,
    },
    state::{Restored, Snapshot, check_schema, encode_value},
    watermark::Watermark,
};

/// What is joined how.
pub struct TemporalPlan {
    /// Whether a row without a version comes out with NULLs.
    pub keeps_all: bool,
    /// What is looked up: of the left side.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The left side's column with the time.
    pub time: usize,
    /// What must hold for a version, over all of its columns.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// The columns of a version that are put out.
    pub picks: Vec<usize>,
    /// What must hold besides, over the columns put out.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The left side's columns.
    pub input: SchemaRef,
    /// The columns put out: the left side's, those of the version, and the left row's weight where it has one.
    pub schema: SchemaRef,
}

/// A join as of event time.
pub struct TemporalJoin {
    plan: TemporalPlan,
    left: HeldRows,
    versions: Versions,
    progress: Progress,
    memory: MemoryReservation,
}

impl TemporalJoin {
    /// The join of rows that are held and versions.
    pub fn new(plan: TemporalPlan, left: HeldRows, versions: Versions, memory: MemoryReservation) -> Self {
        Self { plan, left, versions, progress: Progress::default(), memory }
    }

    /// Rows with their versions.
    fn joined(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let keys = evaluated(&self.plan.keys, rows)?;
        let found = self.versions.valid_at(&keys, times(rows.column(self.plan.time))?.iter())?;
        let pairs = found.iter().enumerate().filter_map(|(row, found)| Some((row as u32, (*found)?)));
        let (asking, numbers): (Vec<u32>, Vec<u32>) = pairs.unzip();
        let mut asking = UInt32Array::from(asking);
        let mut versions = self.versions.take(&numbers)?;
        if let Some(predicate) = &self.plan.predicate {
            let holds = mask(predicate, &versions)?;
            versions = filter_record_batch(&versions, &holds)?;
            asking = filtered(&asking, &holds)?;
        }
        let mut picked = versions.project(&self.plan.picks)?;
        if let Some(filter) = &self.plan.filter {
            let holds =
                mask(filter, &self.beside(&take_record_batch(rows, &asking)?, picked.columns().to_vec())?)?;
            picked = filter_record_batch(&picked, &holds)?;
            asking = filtered(&asking, &holds)?;
        }
        if !self.plan.keeps_all {
            return self.beside(&take_record_batch(rows, &asking)?, picked.columns().to_vec());
        }
        let mut place = vec![None; rows.num_rows()];
        asking.values().iter().enumerate().for_each(|(at, row)| place[*row as usize] = Some(at as u32));
        let place = UInt32Array::from(place);
        let picked = picked.columns().iter().map(|column| Ok(take(column, &place, None)?));
        self.beside(rows, picked.collect::<Result<_>>()?)
    }

    /// Rows of the left side and columns of their versions, as they are put out.
    fn beside(&self, rows: &RecordBatch, picked: Vec<ArrayRef>) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        let weight = is_updating(&self.plan.input).then(|| columns.pop()).flatten();
        columns.extend(picked);
        columns.extend(weight);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.plan.schema), columns, &options)?)
    }

    fn resize(&mut self) -> Result<()> {
        self.memory.try_resize(self.left.bytes() + self.versions.bytes())
    }
}

fn filtered(rows: &UInt32Array, holds: &arrow::array::BooleanArray) -> Result<UInt32Array> {
    let kept = rows.values().iter().zip(holds.values()).filter(|(_, holds)| *holds);
    Ok(kept.map(|(row, _)| *row).collect::<Vec<_>>().into())
}

impl PairOperator for TemporalJoin {
    fn rows(&mut self, side: Side, batch: RecordBatch, _: &mut Next<'_>) -> Result<()> {
        match side {
            Side::Left => self.left.add(batch, &mut self.progress)?,
            Side::Right => self.versions.add(&batch)?,
        }
        self.resize()
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        let Watermark(ms) = watermark;
        for rows in self.left.take_until(ms)? {
            next.rows(self.joined(&rows)?)?;
        }
        self.versions.forget_until(ms);
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
        self.left.chunks()?.iter().for_each(|chunk| snapshot.chunk(chunk));
        self.versions.snapshot(&mut snapshot)?;
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        self.progress.restore(&restored.values)?;
        for chunk in restored.chunks {
            match chunk.table {
                LEFT => {
                    check_schema(&chunk.rows, &self.plan.input)?;
                    self.left.restore(chunk)?;
                }
                _ => self.versions.restore(chunk)?,
            }
        }
        self.resize()
    }
}
