//! Where the rows of one of a task's streams go: over its edges, and into its sink or to the client.

use std::{sync::Arc, time::Duration};

use arrow::array::RecordBatch;
use datafusion::execution::TaskContext;
use futures::{Stream, StreamExt as _};
use thalweg_connectors::sink::{Prepared, SinkWriter};
use thalweg_graph::{EdgeId, checkpoint::Barrier, table::Committable};
use tokio::time::{Instant, timeout_at};

use super::{ended::Ended, result_output::ResultOutput};
use crate::{
    counters::TaskCounters,
    exchange::{
        event::Signal,
        result_partition::{PartitionWriter, ResultPartition},
        subpartition_queue::Demand,
    },
    watermark::Watermark,
};

/// A sink that cannot be withdrawn in this time is left to the abort of the job.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The outputs of one stream.
pub struct StreamOutput {
    edges: Vec<PartitionWriter>,
    /// The edge that has late rows only.
    late: Option<PartitionWriter>,
    last: LastOutput,
    counters: Arc<TaskCounters>,
}

/// Waits for what comes next, but not while rows wait in an output that a consumer could already have.
pub struct BufferTimeout {
    timeout: Duration,
    held_since: Option<Instant>,
}

impl BufferTimeout {
    /// Rows are held back for at most this long.
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, held_since: None }
    }

    /// The next item. What `output` has held back for too long is sent meanwhile.
    pub async fn next<S: Stream + Unpin>(
        &mut self,
        items: &mut S,
        output: &mut StreamOutput,
    ) -> Result<Option<S::Item>, Ended> {
        if output.holds_back() {
            let since = *self.held_since.get_or_insert_with(Instant::now);
            if let Ok(next) = timeout_at(since + self.timeout, items.next()).await {
                return Ok(next);
            }
            output.flush().await?;
        }
        self.held_since = None;
        Ok(items.next().await)
    }
}

/// Where rows leave the job.
pub enum LastOutput {
    /// Not here.
    None,
    /// Into a table.
    Sink(Box<dyn SinkWriter>),
    /// To the client.
    Result(Arc<ResultOutput>),
}

impl StreamOutput {
    /// An output over all of a task's edges, of which one may be for late rows, and one more.
    pub fn new(
        edges: &[Arc<ResultPartition>],
        late: Option<EdgeId>,
        last: LastOutput,
        context: &TaskContext,
        counters: Arc<TaskCounters>,
    ) -> Result<Self, Ended> {
        let (of_late, edges): (Vec<_>, Vec<_>) = edges.iter().partition(|edge| Some(edge.edge()) == late);
        let late = of_late.first().map(|edge| edge.writer(context)).transpose()?;
        let edges = edges.into_iter().map(|edge| edge.writer(context)).collect::<Result<_, _>>()?;
        Ok(Self { edges, late, last, counters })
    }

    /// Writes rows; `Over` if nobody wants any more.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<Demand, Ended> {
        let mut demand = if self.edges.is_empty() { Demand::Wanted } else { Demand::Over };
        for edge in &mut self.edges {
            if edge.write(batch.clone()).await? == Demand::Wanted {
                demand = Demand::Wanted;
            }
        }
        match &mut self.last {
            LastOutput::None => return Ok(demand),
            LastOutput::Sink(writer) => {
                self.counters.records_out.add(batch.num_rows() as u64);
                writer.write(batch).await?;
            }
            LastOutput::Result(output) => {
                self.counters.records_out.add(batch.num_rows() as u64);
                let bytes = output.write(&batch).await?;
                self.counters.bytes_out.add(bytes);
            }
        }
        Ok(Demand::Wanted)
    }

    /// Writes rows that came too late to where they are wanted.
    pub async fn write_late(&mut self, batch: RecordBatch) -> Result<(), Ended> {
        if let Some(late) = &mut self.late {
            let _demand = late.write(batch).await?;
        }
        Ok(())
    }

    /// Tells the tasks behind something, after all rows before it.
    pub async fn signal(&mut self, signal: Signal) -> Result<(), Ended> {
        if let LastOutput::Sink(writer) = &mut self.last {
            match &signal {
                Signal::Watermark(Watermark(reached_ms)) => writer.event_time(Some(*reached_ms)),
                Signal::Idle => writer.event_time(None),
                Signal::Barrier(_) => {}
            }
        }
        for edge in self.edges.iter_mut().chain(&mut self.late) {
            edge.signal(signal.clone()).await?;
        }
        Ok(())
    }

    /// Hands a barrier on, after all rows before it; returns what a sink leaves at it.
    pub async fn barrier(&mut self, barrier: &Barrier) -> Result<Prepared, Ended> {
        self.signal(Signal::Barrier(barrier.clone())).await?;
        match &mut self.last {
            LastOutput::Sink(writer) => Ok(writer.barrier(barrier).await?),
            LastOutput::None | LastOutput::Result(_) => Ok(Prepared::default()),
        }
    }

    /// Whether rows wait here that a consumer could already have.
    pub fn holds_back(&self) -> bool {
        let result = matches!(&self.last, LastOutput::Result(result) if result.holds_back());
        result || self.edges.iter().chain(&self.late).any(PartitionWriter::holds_back)
    }

    /// Sends what waits.
    pub async fn flush(&mut self) -> Result<(), Ended> {
        for edge in self.edges.iter_mut().chain(&mut self.late) {
            edge.flush().await?;
        }
        match &self.last {
            LastOutput::Result(result) if result.holds_back() => result.flush().await,
            _ => Ok(()),
        }
    }

    /// Completes this stream's part of the outputs.
    pub async fn finish(mut self) -> Result<Option<Committable>, Ended> {
        self.flush().await?;
        let LastOutput::Sink(writer) = self.last else { return Ok(None) };
        let outcome = writer.finish().await?;
        self.counters.bytes_out.add(outcome.bytes_written);
        Ok(outcome.committable)
    }

    /// Withdraws what the sink has staged.
    pub async fn abort(self) {
        let LastOutput::Sink(writer) = self.last else { return };
        if tokio::time::timeout(ABORT_TIMEOUT, writer.abort()).await.is_err() {
            tracing::warn!("a sink did not withdraw its output within {} s", ABORT_TIMEOUT.as_secs());
        }
    }
}
