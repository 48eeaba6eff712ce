//! Reads the rows of some strands: as a stream, from whatever position, or as a batch.

use std::future::pending;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::stream::RecordBatchStreamAdapter,
};
use futures::stream;
use serde::{Deserialize, Serialize};
use thalweg_graph::source::Split;
use thalweg_plan::exec::ConnectorScan;

use super::{MakeRows, Numbering, pace::Pace, strands::Strands, strands_of};
use crate::{
    error::{Error, Result},
    source::{OpenReader, SourceEvent, SourceReader, SplitPosition},
};

/// Numbers that one batch is made from at most: where few of them give rows, event time is still to advance evenly.
const NUMBERS_MAX: u64 = 1 << 16;

/// Where a strand is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Position {
    /// The next number.
    next: u64,
    /// The numbers of a block: the rate of the table may change between two runs of a job, its strands must not.
    block: u64,
}

/// Reads a subtask's strands, merged by number. To who reads them they are one split, in which event time only rises.
pub struct NumberedReader<M> {
    rows: M,
    strands: Strands,
    pace: Option<Pace>,
    stays: bool,
    batch_rows: usize,
    table: String,
    stage: Stage,
}

enum Stage {
    New,
    Reading,
    Over,
}

impl<M: MakeRows> NumberedReader<M> {
    /// A reader of the strands that the request deals, from where they were.
    pub fn open(request: &OpenReader<'_>, numbering: Numbering, rows: M) -> Result<Self> {
        let table = request.scan.table.path.table.clone();
        let strands = strands_of(request.splits)?;
        let restored = request.restored.unwrap_or_default();
        let restored = restored.iter().map(decode).collect::<Result<Vec<_>>>()?;
        let block = restored.first().map_or(numbering.block(), |(_, position)| position.block);
        let next = |strand: u32| {
            let name = name(&table, strand);
            let known = restored.iter().find(|(split, _)| *split == name);
            (known.map_or(Strands::start(strand, block), |(_, position)| position.next), strand)
        };
        let strands = Strands::new(strands.into_iter().map(next), block, numbering.limit());
        let pace = numbering.rate.map(|rate| Pace::new(rate, strands.next().unwrap_or_default()));
        let (stays, batch_rows) = (numbering.stays, request.batch_rows);
        Ok(Self { rows, strands, pace, stays, batch_rows, table, stage: Stage::New })
    }
}

fn name(table: &str, strand: u32) -> String {
    format!("{table}-{strand}")
}

fn decode(position: &SplitPosition) -> Result<(&str, Position)> {
    let decoded: Position = serde_json::from_slice(&position.position)
        .map_err(|error| Error::Internal(format!("the position of split `{}`: {error}", position.split)))?;
    match decoded.block {
        0 => Err(Error::Internal(format!("the position of split `{}` has empty blocks", position.split))),
        _ => Ok((&position.split, decoded)),
    }
}

#[async_trait]
impl<M: MakeRows> SourceReader for NumberedReader<M> {
    async fn next(&mut self) -> Result<Option<SourceEvent>> {
        // There always are rows: without this the thread would never be given back.
        tokio::task::consume_budget().await;
        match self.stage {
            Stage::New if self.strands.positions().next().is_none() => return Ok(None),
            Stage::New => {
                self.stage = Stage::Reading;
                return Ok(Some(SourceEvent::Begin { split: 0, name: self.table.clone() }));
            }
            Stage::Reading => {}
            Stage::Over => return Ok(None),
        }
        let count = self.rows.numbers_for(self.batch_rows).clamp(1, NUMBERS_MAX);
        while let Some(next) = self.strands.next() {
            let mut bound = u64::MAX;
            if let Some(pace) = &mut self.pace {
                pace.wait(next).await;
                bound = pace.due().max(next + 1);
            }
            let batch = self.rows.rows(&self.strands.take(count, bound))?;
            if batch.num_rows() > 0 {
                return Ok(Some(SourceEvent::Rows { split: 0, batch }));
            }
            tokio::task::consume_budget().await;
        }
        if self.stays {
            pending::<()>().await;
        }
        self.stage = Stage::Over;
        Ok(Some(SourceEvent::End { split: 0 }))
    }

    fn positions(&self) -> Result<Vec<SplitPosition>> {
        let position = |(next, strand)| {
            let position = serde_json::to_vec(&Position { next, block: self.strands.block() });
            let position = position.map_err(|error| Error::Internal(error.to_string()))?.into();
            Ok(SplitPosition { split: name(&self.table, strand), position })
        };
        self.strands.positions().map(position).collect()
    }
}

/// All rows of some splits of a scan, as a batch's task reads them.
pub fn batches(
    scan: &ConnectorScan,
    splits: &[Split],
    schema: SchemaRef,
    context: &TaskContext,
    numbering: Numbering,
    mut rows: impl MakeRows,
) -> Result<SendableRecordBatchStream> {
    let block = numbering.block();
    let strands = strands_of(splits)?.into_iter().map(|strand| (Strands::start(strand, block), strand));
    let mut strands = Strands::new(strands, block, numbering.limit());
    let count = rows.numbers_for(context.session_config().batch_size()).max(1);
    let mut left = scan.limit.unwrap_or(usize::MAX);
    let batches = std::iter::from_fn(move || {
        while left > 0 && strands.next().is_some() {
            match rows.rows(&strands.take(count, u64::MAX)) {
                Ok(batch) if batch.num_rows() == 0 => {}
                Ok(batch) => {
                    let wanted = batch.num_rows().min(left);
                    left -= wanted;
                    return Some(Ok(batch.slice(0, wanted)));
                }
                Err(error) => {
                    left = 0;
                    return Some(Err(error.into()));
                }
            }
        }
        None
    });
    let batches: Box<dyn Iterator<Item = datafusion::error::Result<RecordBatch>> + Send> = Box::new(batches);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches))))
}
