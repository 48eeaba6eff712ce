//! A Kafka table that ends, read as a batch: each partition from one offset to another, both fixed when the query is planned.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Statistics, project_schema, stats::Precision},
    datasource::TableType,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::Expr,
    physical_plan::{ExecutionPlan, stream::RecordBatchStreamAdapter},
};
use futures::{TryStreamExt as _, stream};
use krafka::consumer::TopicPartition;
use serde::{Deserialize, Serialize};
use thalweg_graph::{SqlError, source::Split, table::TableDescriptor};
use thalweg_plan::exec::{ConnectorScan, ConnectorSourceExec};

use super::{
    client::Client,
    offsets::{self, Range},
    options::KafkaOptions,
    reader::KafkaReader,
    rows::RowDecoder,
    topics,
};
use crate::{
    error::{Error, Result},
    source::{SourceEvent, SourceReader as _},
};

/// A partition's part, as a split holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    topic: String,
    partition: i32,
    start: i64,
    stop: i64,
}

/// The table for reading.
#[derive(Debug)]
pub struct KafkaTable {
    descriptor: TableDescriptor,
    options: KafkaOptions,
    schema: SchemaRef,
}

impl KafkaTable {
    /// Of a table with its physical and metadata columns.
    pub fn new(descriptor: TableDescriptor, schema: SchemaRef) -> Result<Self> {
        let options = KafkaOptions::of(&descriptor)?;
        options.check_source()?;
        Ok(Self { descriptor, options, schema })
    }

    async fn parts(&self) -> Result<Vec<Part>> {
        let client = Client::connect(&self.options).await?;
        let partitions = topics::partitions(&client, &self.options.topics).await?;
        let ranges = offsets::ranges(&client, &self.options, partitions).await?;
        let ranges = offsets::within_bounds(&client, ranges).await?;
        let part = |range: Range| {
            let Range { partition: TopicPartition { topic, partition, .. }, start, stop } = range;
            Part { topic, partition, start, stop: stop.unwrap_or(i64::MAX) }
        };
        Ok(ranges.into_iter().map(part).filter(|part| part.start < part.stop).collect())
    }

    async fn splits(&self, partitions: usize) -> Result<(Vec<Vec<Split>>, usize)> {
        let mut splits = vec![Vec::new(); partitions.max(1)];
        let mut rows = 0;
        for (position, part) in self.parts().await?.into_iter().enumerate() {
            let Part { topic, partition, start, stop } = &part;
            let records = stop - start;
            rows += records as usize;
            let descriptor = serde_json::to_vec(&part).map_err(|error| Error::Internal(error.to_string()))?;
            let split = Split {
                display: format!("{topic}-{partition}[{start}..{stop}]"),
                descriptor: descriptor.into(),
                // The number of records stands for bytes: nothing else is known of them.
                size_bytes: records.unsigned_abs(),
                hosts: Vec::new(),
            };
            let target = position % splits.len();
            splits[target].push(split);
        }
        Ok((splits, rows))
    }
}

#[async_trait]
impl TableProvider for KafkaTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let partitions = session.config().target_partitions();
        let schema = project_schema(&self.schema, projection)?;
        let scan = ConnectorScan::new(self.descriptor.clone(), projection.cloned(), limit);
        if self.options.bounded.is_none() {
            // A stream's readers find their partitions by themselves.
            let splits = vec![Vec::new(); partitions.max(1)];
            return Ok(Arc::new(ConnectorSourceExec::new(scan, schema, splits)));
        }
        let (splits, rows) = self
            .splits(partitions)
            .await
            .map_err(|error| DataFusionError::External(Box::new(SqlError::from(error))))?;
        let statistics =
            Statistics { num_rows: Precision::Inexact(rows), ..Statistics::new_unknown(&schema) };
        Ok(Arc::new(ConnectorSourceExec::new(scan, schema, splits).with_statistics(statistics)))
    }
}

/// Opens some partitions' parts; their rows will have `schema`.
pub fn open(
    scan: &ConnectorScan,
    splits: &[Split],
    schema: SchemaRef,
    context: &TaskContext,
) -> Result<SendableRecordBatchStream> {
    let options = KafkaOptions::of(&scan.table)?;
    if options.bounded.is_none() {
        return Err(Error::Unsupported(format!(
            "table {} never ends, and a batch reads it to its end; set `scan.bounded.mode`, for instance to `latest-offset`, or \
             `execution.runtime-mode` to `streaming`",
            scan.table.path
        )));
    }
    if options.is_upsert() || options.value.format.is_changelog() {
        return Err(Error::Unsupported(format!(
            "table {} is a changelog, which a batch cannot read; set `execution.runtime-mode` to `streaming`",
            scan.table.path
        )));
    }
    let decode = |split: &Split| {
        let part: Part =
            serde_json::from_slice(&split.descriptor).map_err(|error| Error::Internal(error.to_string()))?;
        let partition = TopicPartition::new(part.topic, part.partition);
        Ok(Range { partition, start: part.start, stop: Some(part.stop) })
    };
    let ranges = splits.iter().map(decode).collect::<Result<Vec<_>>>()?;
    if ranges.is_empty() {
        return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream::empty())));
    }
    let scan = scan.clone();
    let batch_rows = context.session_config().batch_size();
    let columns = Arc::clone(&schema);
    let opened = async move {
        let client = Client::connect(&options).await?;
        let rows = RowDecoder::new(&scan.table, &options, scan.projection.as_deref(), &columns)?;
        let reader = KafkaReader::open(client, options, rows, ranges, None, batch_rows).await?;
        let rows = stream::try_unfold(reader, |mut reader| async move {
            loop {
                match reader.next().await.map_err(DataFusionError::from)? {
                    Some(SourceEvent::Rows { batch, .. }) => return Ok(Some((batch, reader))),
                    Some(_) => {}
                    None => return Ok(None),
                }
            }
        });
        Ok::<_, DataFusionError>(rows)
    };
    let rows = stream::once(opened).try_flatten();
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}
