//! The rows of a query on their way to the client: one Arrow IPC stream, sent to the leader in chunks.
//!
//! A live result is read while it is made. Its chunks go out no faster than the reader takes them: each needs a credit, which
//! comes back when it was taken.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
};
use bytes::Bytes;
use datafusion::error::DataFusionError;
use thalweg_graph::{Attempt, FailureKind};
use thalweg_rpc::ToLeader;
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::ended::Ended;
use crate::{counters::TaskCounters, exchange::block::BlockEncoder};

/// Largest chunk.
const CHUNK_BYTES: usize = 256 << 10;

/// Shared by the streams of a task; batches go out whole and in the order in which they come.
pub struct ResultOutput {
    state: Mutex<(BlockEncoder, Chunks)>,
}

/// What limits a live result.
pub struct Credit {
    /// Chunks that may be sent.
    pub chunks: Arc<Semaphore>,
    /// Where the time is counted that is spent waiting for them.
    pub counters: Arc<TaskCounters>,
}

impl ResultOutput {
    /// An output for rows of `schema`. `leader` is the session that the task was ordered through: a chunk through another would leave
    /// a gap.
    pub fn new(attempt: Attempt, leader: mpsc::Sender<ToLeader>, schema: &SchemaRef) -> Result<Self, Ended> {
        Self::over(Chunks { attempt, leader, unsent: Vec::new(), credit: None }, schema)
    }

    /// The same for a reader who reads meanwhile; its columns go out at once.
    pub async fn live(
        attempt: Attempt,
        leader: mpsc::Sender<ToLeader>,
        schema: &SchemaRef,
        credit: Credit,
    ) -> Result<Self, Ended> {
        let output =
            Self::over(Chunks { attempt, leader, unsent: Vec::new(), credit: Some(credit) }, schema)?;
        output.send_columns(schema).await?;
        Ok(output)
    }

    fn over(chunks: Chunks, schema: &Schema) -> Result<Self, Ended> {
        let encoder = BlockEncoder::plain(schema).map_err(unencodable)?;
        Ok(Self { state: Mutex::new((encoder, chunks)) })
    }

    async fn send_columns(&self, schema: &SchemaRef) -> Result<(), Ended> {
        let mut state = self.state.lock().await;
        let (encoder, chunks) = &mut *state;
        chunks.write(&encoder.begin(schema).map_err(unencodable)?).await?;
        chunks.flush().await
    }

    /// Sends rows; says how many bytes they became.
    pub async fn write(&self, batch: &RecordBatch) -> Result<u64, Ended> {
        let mut state = self.state.lock().await;
        let (encoder, chunks) = &mut *state;
        let mut bytes = 0;
        for block in encoder.encode(batch).map_err(unencodable)? {
            bytes += block.bytes as u64;
            chunks.write(&block.buffers).await?;
        }
        Ok(bytes)
    }

    /// Whether rows wait here that a reader could already have.
    pub fn holds_back(&self) -> bool {
        let state = self.state.try_lock();
        state.is_ok_and(|state| state.1.credit.is_some() && !state.1.unsent.is_empty())
    }

    /// Sends what waits.
    pub async fn flush(&self) -> Result<(), Ended> {
        self.state.lock().await.1.flush().await
    }

    /// Ends the stream. Without any rows it still tells their columns.
    pub async fn finish(self) -> Result<(), Ended> {
        let (encoder, mut chunks) = self.state.into_inner();
        chunks.write(&encoder.finish().map_err(unencodable)?).await?;
        chunks.flush().await
    }
}

fn unencodable(error: ArrowError) -> Ended {
    DataFusionError::from(error).into()
}

/// Bytes gathered to chunks.
struct Chunks {
    attempt: Attempt,
    leader: mpsc::Sender<ToLeader>,
    unsent: Vec<u8>,
    /// Of a live result.
    credit: Option<Credit>,
}

impl Chunks {
    async fn write(&mut self, buffers: &[Buffer]) -> Result<(), Ended> {
        for buffer in buffers {
            let mut rest = buffer.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - self.unsent.len()));
                self.unsent.extend_from_slice(now);
                rest = later;
                if self.unsent.len() == CHUNK_BYTES {
                    let full = std::mem::replace(&mut self.unsent, Vec::with_capacity(CHUNK_BYTES));
                    self.send(full).await?;
                }
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        let rest = std::mem::take(&mut self.unsent);
        self.send(rest).await
    }

    async fn send(&self, bytes: Vec<u8>) -> Result<(), Ended> {
        if let Some(credit) = &self.credit {
            credit.spend().await?;
        }
        let chunk = ToLeader::ResultChunk { attempt: self.attempt, bytes: Bytes::from(bytes) };
        let sent = self.leader.send(chunk).await;
        sent.map_err(|_| {
            Ended::failed(FailureKind::Io, "the connection to the JobManager broke while rows were sent")
        })
    }
}

impl Credit {
    async fn spend(&self) -> Result<(), Ended> {
        let permit = match self.chunks.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.counters.backpressured.start();
                self.chunks.acquire().await.map_err(|_| Ended::Canceled)?
            }
        };
        permit.forget();
        Ok(())
    }
}
