//! What a query answers when its input has ended: the rows that are left when all changes are added up, in the order asked for.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray as _, Int64Array, RecordBatch, RecordBatchOptions},
    compute::{lexsort_to_indices, take_record_batch},
    datatypes::{Int64Type, SchemaRef},
};
use datafusion::{error::Result, execution::memory_pool::MemoryReservation};
use thalweg_plan::stream::changelog::{is_updating, with_weight};

use super::{
    changelog,
    key_table::KeyTable,
    link::{Next, Operator},
    marks::Marks,
    row_store::RowStore,
    sort_order::SortOrder,
    state_log::StateLog,
};
use crate::{
    state::{Restored, Snapshot, check_schema},
    watermark::Watermark,
};

/// Rows that go on at once.
const BATCH_ROWS: usize = 8192;

/// Gathers rows until the input ends.
pub struct FinalResult {
    order_by: SortOrder,
    skip: usize,
    fetch: usize,
    schema: SchemaRef,
    kept: Kept,
    log: StateLog,
    key_groups: u16,
    memory: MemoryReservation,
}

enum Kept {
    /// Rows that are only added.
    Added(RowStore),
    /// Rows that are taken back too, and how often each is there.
    Counted { rows: KeyTable, counts: Vec<i64>, dirty: Marks },
}

impl FinalResult {
    /// The answer of rows of `input`, in rows of `schema`.
    pub fn new(
        order_by: SortOrder,
        skip: usize,
        fetch: usize,
        input: &SchemaRef,
        schema: SchemaRef,
        key_groups: u16,
        memory: MemoryReservation,
    ) -> Result<Self> {
        let kept = match is_updating(input) {
            false => Kept::Added(RowStore::new(Arc::clone(&schema))),
            true => Kept::Counted {
                rows: KeyTable::new(Arc::clone(&schema))?,
                counts: Vec::new(),
                dirty: Marks::default(),
            },
        };
        Ok(Self { order_by, skip, fetch, schema, kept, log: StateLog::new(0), key_groups, memory })
    }

    fn bytes(&self) -> usize {
        let kept = match &self.kept {
            Kept::Added(rows) => rows.bytes(),
            Kept::Counted { rows, counts, .. } => rows.bytes() + counts.capacity() * size_of::<i64>(),
        };
        kept + self.log.bytes()
    }

    fn all(&self) -> Result<RecordBatch> {
        let (columns, rows): (Vec<ArrayRef>, usize) = match &self.kept {
            Kept::Added(rows) => {
                let all: Vec<u32> = (0..rows.count() as u32).collect();
                (rows.take(&all)?, all.len())
            }
            Kept::Counted { rows, counts, .. } => {
                let repeated = |(row, count): (usize, &i64)| {
                    std::iter::repeat_n(row as u32, usize::try_from(*count).unwrap_or(0))
                };
                let all: Vec<u32> = counts.iter().enumerate().flat_map(repeated).collect();
                (rows.take(&all)?, all.len())
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    fn emit(&self, next: &mut Next<'_>) -> Result<()> {
        let mut all = self.all()?;
        if !self.order_by.is_empty() && all.num_rows() > 0 {
            let order = lexsort_to_indices(&self.order_by.columns(&all)?, None)?;
            all = take_record_batch(&all, &order)?;
        }
        let end = self.skip.saturating_add(self.fetch).min(all.num_rows());
        for offset in (self.skip.min(end)..end).step_by(BATCH_ROWS) {
            next.rows(all.slice(offset, BATCH_ROWS.min(end - offset)))?;
        }
        Ok(())
    }
}

impl Operator for FinalResult {
    fn rows(&mut self, batch: RecordBatch, _: &mut Next<'_>) -> Result<()> {
        match &mut self.kept {
            Kept::Added(rows) => rows.push(batch.columns().to_vec(), batch.num_rows())?,
            Kept::Counted { rows, counts, dirty } => {
                let (batch, weights) = changelog::split(&batch)?;
                rows.intern(batch.columns(), batch.num_rows())?;
                counts.resize(rows.count(), 0);
                for (row, number) in rows.numbers().iter().enumerate() {
                    counts[*number] += changelog::weight(&weights, row);
                    dirty.mark(*number);
                }
            }
        }
        self.memory.try_resize(self.bytes())
    }

    fn watermark(&mut self, watermark: Watermark, next: &mut Next<'_>) -> Result<()> {
        if watermark == Watermark::END {
            self.emit(next)?;
        }
        next.watermark(watermark)
    }

    fn snapshot(&mut self) -> Result<Snapshot> {
        match &mut self.kept {
            Kept::Added(rows) => rows.seal().iter().for_each(|block| self.log.push(block.clone())),
            Kept::Counted { rows, counts, dirty } => {
                for part in dirty.take().chunks(64 << 10) {
                    let mut columns = rows.take(part)?;
                    let values = part.iter().map(|number| counts[*number as usize]);
                    columns.push(Arc::new(Int64Array::from_iter_values(values)));
                    self.log.push(RecordBatch::try_new(with_weight(&self.schema), columns)?);
                }
            }
        }
        let mut snapshot = Snapshot::default();
        // There is one subtask, which has all rows.
        self.log.snapshot(&mut snapshot, self.key_groups, |_| Ok(Vec::new()))?;
        Ok(snapshot)
    }

    fn restore(&mut self, restored: Restored) -> Result<()> {
        for chunk in restored.chunks {
            match &mut self.kept {
                Kept::Added(rows) => {
                    let batch = check_schema(&chunk.rows, &self.schema)?;
                    rows.push(batch.columns().to_vec(), batch.num_rows())?;
                    rows.seal();
                }
                Kept::Counted { rows, counts, .. } => {
                    let batch = check_schema(&chunk.rows, &with_weight(&self.schema))?;
                    let (columns, last) = batch.columns().split_at(batch.num_columns() - 1);
                    rows.intern(columns, batch.num_rows())?;
                    counts.resize(rows.count(), 0);
                    let values = last[0].as_primitive::<Int64Type>().values();
                    rows.numbers().iter().zip(values).for_each(|(number, count)| counts[*number] = *count);
                }
            }
            self.log.restore(chunk);
        }
        self.memory.try_resize(self.bytes())
    }
}
