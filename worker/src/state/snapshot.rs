//! What an operator gives at a barrier and takes back when its job goes on from there.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use bytes::Bytes;
use datafusion::error::{DataFusionError, Result};
use serde::{Serialize, de::DeserializeOwned};

use super::chunk::{ChunkId, StateChunk};

/// Rows that are not in memory: read a chunk at a time when they are stored.
pub trait StoredRows: Send + Sync {
    /// Tells them apart from every other rows and every chunk.
    fn id(&self) -> ChunkId;

    /// The rows, the same whenever it is called.
    fn chunks(&self) -> Box<dyn Iterator<Item = Result<Arc<StateChunk>>> + Send + '_>;
}

/// An operator's state at a barrier.
#[derive(Default)]
pub struct Snapshot {
    /// Chunks and rows of snapshots before this one, which the operator has not in memory any more. They come before all others.
    pub kept: Vec<ChunkId>,
    /// Rows that are on the local disk. They come before the chunks.
    pub on_disk: Vec<Arc<dyn StoredRows>>,
    /// Its rows with keys, in the order in which they came about: of two that say something about the same key the later one counts,
    /// where the operator sees it so.
    pub chunks: Vec<Arc<StateChunk>>,
    /// What the subtask keeps besides: small, not divided by keys.
    pub value: Option<Bytes>,
}

impl Snapshot {
    /// Adds a chunk. One that an earlier checkpoint has stored is not stored again.
    pub fn chunk(&mut self, chunk: &Arc<StateChunk>) {
        if chunk.rows.num_rows() > 0 {
            self.chunks.push(Arc::clone(chunk));
        }
    }
}

/// An operator's state as it comes back.
#[derive(Debug, Default)]
pub struct Restored {
    /// The rows in this subtask's key groups, of all subtasks that there were, in the order of each.
    pub chunks: Vec<Arc<StateChunk>>,
    /// Whether some of the chunks are in no file of this job as they are: rows of other subtasks were cut off, or the file is another job's.
    pub unstored: bool,
    /// What each subtask kept besides of which there are key groups here: at the same parallelism the one that this one was.
    pub values: Vec<Bytes>,
}

/// A subtask's own state as bytes.
pub fn encode_value(value: &impl Serialize) -> Bytes {
    postcard::to_stdvec(value).expect("a state is plain data").into()
}

/// A subtask's own state back from bytes.
pub fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|error| {
        DataFusionError::Plan(format!("the state of an operator cannot be decoded: {error}"))
    })
}

/// The rows of a chunk, if they have the types of the columns that the operator keeps.
pub fn check_schema<'a>(rows: &'a RecordBatch, expected: &SchemaRef) -> Result<&'a RecordBatch> {
    let kept = rows.schema();
    let fits = kept.fields().len() == expected.fields().len()
        && kept.fields().iter().zip(expected.fields()).all(|(kept, new)| kept.data_type() == new.data_type());
    if fits {
        return Ok(rows);
    }
    let types = |schema: &SchemaRef| {
        let types: Vec<String> = schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        types.join(", ")
    };
    Err(DataFusionError::Plan(format!(
        "the checkpoint's state has columns of the types ({}) and the operator keeps ({}): the query was changed in a way that its \
         state does not survive",
        types(&kept),
        types(expected)
    )))
}
