//! Reads a table that ends through its plan, split after split: the same rows in the same order whenever it is asked.
//!
//! The position of a split is the number of rows that it has given. A split that is gone on with is read from its beginning and the
//! rows that were given are left out: files are read fast, and a scan that ends is seldom restored.

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::{
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::ExecutionPlan,
};
use futures::StreamExt as _;
use thalweg_connectors::{
    Error,
    error::Result,
    source::{SourceEvent, SourceReader, SplitPosition},
};

/// One split, as a plan that gives its rows.
pub struct PlannedSplit {
    /// Its name.
    pub name: String,
    /// The plan.
    pub plan: Arc<dyn ExecutionPlan>,
    /// The partition of it that has the split's rows.
    pub partition: usize,
}

/// The reader.
pub struct PlanReader {
    splits: Vec<PlannedSplit>,
    context: Arc<TaskContext>,
    /// Rows given of each split that was begun.
    given: BTreeMap<String, Progress>,
    /// So many splits were said to begin.
    begun: usize,
    /// The split that is read, and its rows.
    current: usize,
    rows: Option<(SendableRecordBatchStream, u64)>,
    /// The most rows given at once, and what is left of those that came.
    batch_rows: usize,
    rest: Option<RecordBatch>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    rows: u64,
    ended: bool,
}

impl PlanReader {
    /// Reads these splits, so many rows at once at most; goes on behind `restored`, of which some may belong to other subtasks.
    pub fn new(
        splits: Vec<PlannedSplit>,
        batch_rows: usize,
        context: Arc<TaskContext>,
        restored: Option<&[SplitPosition]>,
    ) -> Result<Self> {
        let mut given = BTreeMap::new();
        for at in restored.into_iter().flatten() {
            if splits.iter().any(|split| split.name == at.split) {
                given.insert(at.split.clone(), Progress::decode(&at.position)?);
            }
        }
        Ok(Self { splits, context, given, begun: 0, current: 0, rows: None, batch_rows, rest: None })
    }

    /// The first of these rows; the rest is for later.
    fn give(&mut self, batch: RecordBatch) -> SourceEvent {
        let rows = batch.num_rows().min(self.batch_rows);
        self.rest = (rows < batch.num_rows()).then(|| batch.slice(rows, batch.num_rows() - rows));
        self.progress().rows += rows as u64;
        SourceEvent::Rows { split: self.current as u32, batch: batch.slice(0, rows) }
    }

    fn progress(&mut self) -> &mut Progress {
        self.given.entry(self.splits[self.current].name.clone()).or_default()
    }
}

#[async_trait]
impl SourceReader for PlanReader {
    async fn next(&mut self) -> Result<Option<SourceEvent>> {
        loop {
            if let Some(rest) = self.rest.take() {
                return Ok(Some(self.give(rest)));
            }
            // All of them at once: while one is read, event time does not pass by rows of those that are still to be read.
            if let Some(split) = self.splits.get(self.begun) {
                let event = SourceEvent::Begin { split: self.begun as u32, name: split.name.clone() };
                self.begun += 1;
                return Ok(Some(event));
            }
            let number = self.current as u32;
            if self.current == self.splits.len() {
                return Ok(None);
            }
            let Some((rows, skip)) = &mut self.rows else {
                if self.progress().ended {
                    self.current += 1;
                    return Ok(Some(SourceEvent::End { split: number }));
                }
                let skip = self.progress().rows;
                let split = &self.splits[self.current];
                let rows =
                    split.plan.execute(split.partition, Arc::clone(&self.context)).map_err(Error::Rows)?;
                self.rows = Some((rows, skip));
                continue;
            };
            let Some(batch) = rows.next().await else {
                self.rows = None;
                self.progress().ended = true;
                self.current += 1;
                return Ok(Some(SourceEvent::End { split: number }));
            };
            let batch = batch.map_err(Error::Rows)?;
            let left_out = (*skip).min(batch.num_rows() as u64);
            *skip -= left_out;
            let batch = batch.slice(left_out as usize, batch.num_rows() - left_out as usize);
            if batch.num_rows() > 0 {
                return Ok(Some(self.give(batch)));
            }
        }
    }

    fn positions(&self) -> Result<Vec<SplitPosition>> {
        let position = |(split, progress): (&String, &Progress)| SplitPosition {
            split: split.clone(),
            position: progress.encode(),
        };
        Ok(self.given.iter().map(position).collect())
    }
}

impl Progress {
    fn encode(self) -> Bytes {
        let end = if self.ended { " end" } else { "" };
        format!("{}{end}", self.rows).into()
    }

    fn decode(position: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(position).unwrap_or_default();
        let (rows, ended) = match text.strip_suffix(" end") {
            Some(rows) => (rows, true),
            None => (text, false),
        };
        let rows = rows.parse().map_err(|_| Error::Invalid(format!("`{text}` is no position in a file")))?;
        Ok(Self { rows, ended })
    }
}
