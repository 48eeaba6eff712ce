//! A writer without transactions: rows are visible as soon as they are written.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use krafka::producer::Producer;
use thalweg_graph::{CheckpointId, table::Committable};

use super::{super::client::failed, deliveries::Deliveries, records::RecordEncoder};
use crate::{
    error::Result,
    writer::{SinkOutcome, SinkWriter},
};

/// Writes rows.
pub struct PlainWriter {
    pub producer: Producer,
    pub encoder: RecordEncoder,
    pub topic: String,
    /// Whether a checkpoint waits until its rows are written; they may be lost otherwise.
    pub waits: bool,
    pub deliveries: Deliveries,
    pub bytes_written: u64,
}

impl PlainWriter {
    async fn flush(&mut self) -> Result<()> {
        self.producer.flush().await.map_err(|error| failed("write to", &self.topic, error))?;
        self.deliveries.settle_all(&self.topic).await
    }
}

#[async_trait]
impl SinkWriter for PlainWriter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        for record in self.encoder.encode(&batch)? {
            self.bytes_written += record.estimated_size() as u64;
            let delivery = self.producer.enqueue(record).await;
            self.deliveries.push(delivery.map_err(|error| failed("write to", &self.topic, error))?);
        }
        self.deliveries.settle(&self.topic)
    }

    async fn prepare(&mut self, _checkpoint: CheckpointId) -> Result<Option<Committable>> {
        if self.waits {
            self.flush().await?;
        }
        Ok(None)
    }

    async fn finish(mut self: Box<Self>) -> Result<SinkOutcome> {
        self.flush().await?;
        self.producer.close().await.map_err(|error| failed("write to", &self.topic, error))?;
        Ok(SinkOutcome { committable: None, bytes_written: self.bytes_written })
    }

    async fn abort(self: Box<Self>) {}
}
