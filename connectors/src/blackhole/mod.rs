//! The `blackhole` connector: a sink that swallows rows.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use thalweg_graph::{CheckpointId, table::Committable};

use crate::{
    error::Result,
    options::{Known, Takes, known},
    writer::{SinkOutcome, SinkWriter},
};

/// Its options.
pub const OPTIONS: &[Known] = &[known("connector", Takes::Text)];

/// The sink.
#[derive(Debug)]
pub struct Blackhole;

#[async_trait]
impl SinkWriter for Blackhole {
    async fn write(&mut self, _batch: RecordBatch) -> Result<()> {
        Ok(())
    }

    async fn prepare(&mut self, _checkpoint: CheckpointId) -> Result<Option<Committable>> {
        Ok(None)
    }

    async fn finish(self: Box<Self>) -> Result<SinkOutcome> {
        Ok(SinkOutcome::default())
    }

    async fn abort(self: Box<Self>) {}
}
