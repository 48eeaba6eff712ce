//! The rows of a query on their way to the client: one Arrow IPC stream, sent to the leader in chunks.

use arrow::{array::RecordBatch, buffer::Buffer, datatypes::SchemaRef, error::ArrowError};
use bytes::Bytes;
use datafusion::error::DataFusionError;
use thalweg_graph::{Attempt, FailureKind};
use thalweg_rpc::ToLeader;
use tokio::sync::{Mutex, mpsc};

use super::ended::Ended;
use crate::exchange::block::BlockEncoder;

/// Largest chunk.
const CHUNK_BYTES: usize = 256 << 10;

/// Shared by the streams of a task; batches go out whole and in the order in which they come.
pub struct ResultOutput {
    state: Mutex<(BlockEncoder, Chunks)>,
}

impl ResultOutput {
    /// An output for rows of `schema`. `leader` is the session that the task was ordered through: a chunk through another would leave
    /// a gap.
    pub fn new(attempt: Attempt, leader: mpsc::Sender<ToLeader>, schema: &SchemaRef) -> Result<Self, Ended> {
        let encoder = BlockEncoder::plain(schema).map_err(unencodable)?;
        let chunks = Chunks { attempt, leader, unsent: Vec::new() };
        Ok(Self { state: Mutex::new((encoder, chunks)) })
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

    /// Ends the stream. Without any rows it still tells their columns.
    pub async fn finish(self) -> Result<(), Ended> {
        let (encoder, mut chunks) = self.state.into_inner();
        chunks.write(&encoder.finish().map_err(unencodable)?).await?;
        let rest = std::mem::take(&mut chunks.unsent);
        chunks.send(rest).await
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

    async fn send(&self, bytes: Vec<u8>) -> Result<(), Ended> {
        let chunk = ToLeader::ResultChunk { attempt: self.attempt, bytes: Bytes::from(bytes) };
        let sent = self.leader.send(chunk).await;
        sent.map_err(|_| {
            Ended::failed(FailureKind::Io, "the connection to the JobManager broke while rows were sent")
        })
    }
}
