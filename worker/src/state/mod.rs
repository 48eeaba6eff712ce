//! The state of a stream's operators: what a checkpoint keeps of it and what comes back.
//!
//! State is kept in chunks that never change once made, so that a checkpoint stores only those that are new since the last one.
//! A chunk's rows have keys, and each key belongs to a key group, which is what moves between subtasks when a job is restored at
//! another parallelism.

pub mod key_group;
mod chunk;
pub mod file;
mod snapshot;
pub mod spilled;
pub mod state_disk;
pub mod lsm;
pub mod store;
#[cfg(test)]
mod store_tests;

pub use chunk::{ChunkId, StateChunk};
pub use snapshot::{Restored, Snapshot, StoredRows, check_schema, decode_value, encode_value};
