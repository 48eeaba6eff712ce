//! A writer whose rows are visible once their checkpoint is complete.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use thalweg_graph::{CheckpointId, table::Committable};

use super::{
    super::client::failed,
    deliveries::Deliveries,
    records::RecordEncoder,
    transactions::{Numbered, Transactions},
};
use crate::{
    error::Result,
    writer::{SinkOutcome, SinkWriter},
};

/// A transaction with rows in it.
struct Open {
    transaction: Numbered,
    deliveries: Deliveries,
    rows: u64,
    bytes: u64,
}

/// Writes rows in transactions; one is begun with the first row after a checkpoint.
pub struct TransactionalWriter {
    transactions: Transactions,
    encoder: RecordEncoder,
    topic: String,
    open: Option<Open>,
    bytes_written: u64,
}

impl TransactionalWriter {
    /// Writes to a topic.
    pub fn new(transactions: Transactions, encoder: RecordEncoder, topic: String) -> Self {
        Self { transactions, encoder, topic, open: None, bytes_written: 0 }
    }

    async fn opened(&mut self) -> Result<&mut Open> {
        if self.open.is_none() {
            let transaction = self.transactions.begin().await?;
            self.open = Some(Open { transaction, deliveries: Deliveries::default(), rows: 0, bytes: 0 });
        }
        self.open.as_mut().ok_or_else(|| crate::Error::Internal("no transaction is open".to_owned()))
    }

    /// Ends the open transaction's rows; all are in Kafka, and none is visible. Until then it stays open here: who gives up waiting, or
    /// fails, can still abort it.
    async fn seal(&mut self) -> Result<Option<Committable>> {
        let topic = &self.topic;
        if let Some(open) = &mut self.open {
            open.transaction.producer.flush().await.map_err(|error| failed("write to", topic, error))?;
            open.deliveries.settle_all(topic).await?;
        }
        let Some(mut open) = self.open.take() else { return Ok(None) };
        let mut transaction = self.transactions.prepared(open.transaction);
        (transaction.rows, transaction.bytes) = (open.rows, open.bytes);
        transaction.witness = open.deliveries.witness.take();
        Ok(Some(transaction.encode()?))
    }
}

#[async_trait]
impl SinkWriter for TransactionalWriter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let records = self.encoder.encode(&batch)?;
        if records.is_empty() {
            return Ok(());
        }
        let topic = self.topic.clone();
        let mut written = 0;
        let open = self.opened().await?;
        for record in records {
            written += record.estimated_size() as u64;
            let delivery = open.transaction.producer.enqueue(record).await;
            open.deliveries.push(delivery.map_err(|error| failed("write to", &topic, error))?);
            open.rows += 1;
        }
        open.bytes += written;
        open.deliveries.settle(&topic)?;
        self.bytes_written += written;
        Ok(())
    }

    async fn prepare(&mut self, _checkpoint: CheckpointId) -> Result<Option<Committable>> {
        self.seal().await
    }

    async fn finish(mut self: Box<Self>) -> Result<SinkOutcome> {
        let committable = self.seal().await?;
        Ok(SinkOutcome { committable, bytes_written: self.bytes_written })
    }

    async fn abort(mut self: Box<Self>) {
        let Some(open) = self.open.take() else { return };
        let producer = open.transaction.producer;
        if let Err(error) = producer.abort().await {
            let transaction = producer.transactional_id();
            tracing::warn!(transaction, %error, "could not abort; the next attempt does, or Kafka when its time is up");
        }
    }
}
