//! What the history asks of the storage.

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_graph::Failure;

/// Files of one folder. Every call may be repeated.
#[async_trait]
pub trait HistoryStorage: Send + Sync {
    /// The names of all files.
    async fn list(&self) -> Result<Vec<String>, Failure>;

    /// All of a file; `None` where there is none of this name.
    async fn read(&self, name: &str) -> Result<Option<Bytes>, Failure>;

    /// Writes a new file: it appears whole or not at all, and is durable when this returns.
    async fn write(&self, name: &str, bytes: Bytes) -> Result<(), Failure>;

    /// Removes a file, if it is there.
    async fn remove(&self, name: &str) -> Result<(), Failure>;
}
