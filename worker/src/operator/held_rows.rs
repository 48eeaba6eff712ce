//! Rows that are kept until event time has passed them.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, BooleanArray, RecordBatch, TimestampMillisecondArray},
    compute::{filter_record_batch, not},
};
use datafusion::{
    error::{DataFusionError, Result},
    physical_expr::PhysicalExpr,
};

use super::{progress::Progress, times::times};
use crate::state::{StateChunk, key_group::key_groups};

/// Rows by a time of theirs: of single rows, or the ends of the windows that they are in.
pub struct HeldRows {
    /// The column with the time.
    time: usize,
    /// The keys by which rows are divided among subtasks.
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Which of its operator's tables it is.
    table: u16,
    /// How many key groups there are.
    key_groups: u16,
    parts: Vec<Part>,
    /// No row's time is before this.
    first_ms: i64,
    bytes: usize,
}

struct Part {
    rows: RecordBatch,
    bytes: usize,
    first_ms: i64,
    last_ms: i64,
    /// The same rows as a checkpoint has stored them.
    chunk: Option<Arc<StateChunk>>,
}

impl Part {
    /// None of no rows. A row without a time is complete at once.
    fn of(rows: RecordBatch, time: usize) -> Result<Option<Self>> {
        let times = times(rows.column(time))?;
        let each = (0..times.len()).map(|row| time_of(times, row));
        let range = each.fold(None, |range: Option<(i64, i64)>, time| match range {
            Some((first, last)) => Some((first.min(time), last.max(time))),
            None => Some((time, time)),
        });
        let bytes = bytes_of(&rows);
        Ok(range.map(|(first_ms, last_ms)| Self { rows, bytes, first_ms, last_ms, chunk: None }))
    }
}

/// The bytes of rows that may share their buffers with others: their own.
pub fn bytes_of(rows: &RecordBatch) -> usize {
    let own = |column: &ArrayRef| {
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    rows.columns().iter().map(own).sum()
}

fn time_of(times: &TimestampMillisecondArray, row: usize) -> i64 {
    if times.is_valid(row) { times.value(row) } else { i64::MIN }
}

impl HeldRows {
    /// No rows yet.
    pub fn new(time: usize, keys: Vec<Arc<dyn PhysicalExpr>>, table: u16, key_groups: u16) -> Self {
        Self { time, keys, table, key_groups, parts: Vec::new(), first_ms: i64::MAX, bytes: 0 }
    }

    /// Keeps rows; leaves those out that come too late.
    pub fn add(&mut self, batch: RecordBatch, progress: &mut Progress) -> Result<()> {
        let batch = self.in_time(batch, progress)?;
        self.hold(batch)
    }

    /// Keeps rows, whatever their time.
    pub fn hold(&mut self, batch: RecordBatch) -> Result<()> {
        if let Some(part) = Part::of(batch, self.time)? {
            self.keep(part);
        }
        Ok(())
    }

    /// The rows without those that come too late: their time is one at which all is out.
    pub fn in_time(&self, batch: RecordBatch, progress: &mut Progress) -> Result<RecordBatch> {
        let complete_ms = progress.fired_ms;
        let times = times(batch.column(self.time))?;
        if times.iter().flatten().all(|time| time > complete_ms) {
            return Ok(batch);
        }
        let kept: BooleanArray =
            (0..times.len()).map(|row| Some(times.is_null(row) || times.value(row) > complete_ms)).collect();
        progress.leave_out(&filter_record_batch(&batch, &not(&kept)?)?, self.time)?;
        Ok(filter_record_batch(&batch, &kept)?)
    }

    /// Gives out the rows with a time at or before this.
    pub fn take_until(&mut self, until_ms: i64) -> Result<Vec<RecordBatch>> {
        if self.first_ms > until_ms {
            return Ok(Vec::new());
        }
        let mut taken = Vec::new();
        for part in std::mem::take(&mut self.parts) {
            if part.last_ms <= until_ms {
                taken.push(part.rows);
            } else if part.first_ms > until_ms {
                self.parts.push(part);
            } else {
                let times = times(part.rows.column(self.time))?;
                let complete: BooleanArray =
                    (0..times.len()).map(|row| Some(time_of(times, row) <= until_ms)).collect();
                taken.push(filter_record_batch(&part.rows, &complete)?);
                let rest = filter_record_batch(&part.rows, &not(&complete)?)?;
                self.parts.extend(Part::of(rest, self.time)?);
            }
        }
        self.first_ms = self.parts.iter().map(|part| part.first_ms).min().unwrap_or(i64::MAX);
        self.bytes = self.parts.iter().map(|part| part.bytes).sum();
        Ok(taken)
    }

    /// All rows that are kept.
    pub fn rows(&self) -> impl Iterator<Item = &RecordBatch> {
        self.parts.iter().map(|part| &part.rows)
    }

    /// The bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its rows as chunks; those that have not changed are the ones of before.
    pub fn chunks(&mut self) -> Result<Vec<Arc<StateChunk>>> {
        let (keys, table, groups) = (&self.keys, self.table, self.key_groups);
        let chunk = |part: &mut Part| -> Result<Arc<StateChunk>> {
            if let Some(chunk) = &part.chunk {
                return Ok(Arc::clone(chunk));
            }
            let rows = part.rows.num_rows();
            let keys = keys.iter().map(|key| key.evaluate(&part.rows)?.into_array(rows));
            let keys = keys.collect::<Result<Vec<ArrayRef>>>()?;
            let chunk = StateChunk::new(table, part.rows.clone(), key_groups(&keys, rows, groups)?);
            part.chunk = Some(Arc::clone(&chunk));
            Ok(chunk)
        };
        self.parts.iter_mut().map(chunk).collect()
    }

    /// Takes back a chunk.
    pub fn restore(&mut self, chunk: Arc<StateChunk>) -> Result<()> {
        if chunk.table != self.table {
            return Err(DataFusionError::Internal("a chunk of another table".to_owned()));
        }
        if let Some(part) = Part::of(chunk.rows.clone(), self.time)? {
            self.keep(Part { chunk: Some(chunk), ..part });
        }
        Ok(())
    }

    fn keep(&mut self, part: Part) {
        self.first_ms = self.first_ms.min(part.first_ms);
        self.bytes += part.bytes;
        self.parts.push(part);
    }
}
