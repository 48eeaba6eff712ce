//! The `blackhole` connector: a sink that swallows rows, as fast as they come or at a rate, to see what a slow sink does to a job.

use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use thalweg_graph::{CheckpointId, table::Committable};
use tokio::time::{Instant, sleep_until};

use crate::{
    error::Result,
    options::{Known, TableOptions, Takes, known},
    writer::{SinkOutcome, SinkWriter},
};

/// Its options.
pub const OPTIONS: &[Known] =
    &[known("connector", Takes::Text), known("sink.rows-per-second", Takes::Number)];

/// The sink.
#[derive(Debug)]
pub struct Blackhole {
    /// Rows of one subtask in a second; as many as come where not given.
    rate: Option<u64>,
    /// When the next rows are taken.
    next: Instant,
}

impl Blackhole {
    /// As a table's options say.
    pub fn new(options: TableOptions<'_>) -> Self {
        Self { rate: options.value("sink.rows-per-second").filter(|rate| *rate > 0), next: Instant::now() }
    }
}

#[async_trait]
impl SinkWriter for Blackhole {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let Some(rate) = self.rate else { return Ok(()) };
        let took = Duration::from_secs_f64(batch.num_rows() as f64 / rate as f64);
        self.next = self.next.max(Instant::now()) + took;
        sleep_until(self.next).await;
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
