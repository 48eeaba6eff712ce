//! What the control plane asks of the storage of checkpoints.

use async_trait::async_trait;
use thalweg_graph::{Failure, checkpoint::Manifest};

/// Keeps the manifests of checkpoints. Every call may be repeated.
#[async_trait]
pub trait CheckpointStorage: Send + Sync {
    /// Refuses a place that jobs may not name.
    fn check(&self, url: &str) -> Result<(), Failure>;

    /// Writes a manifest at a URL. It is durable when this returns.
    async fn write(&self, url: &str, manifest: &Manifest) -> Result<(), Failure>;

    /// Reads the manifest at a URL, of the file or of its folder.
    async fn read(&self, url: &str) -> Result<Manifest, Failure>;

    /// Removes the checkpoint whose manifest is at a URL, with those of its files that none of the others needs.
    async fn remove(&self, manifest: &str, kept: &[String]) -> Result<(), Failure>;

    /// Removes the savepoint at a URL, of its folder or its manifest, with all its files; anything else is refused.
    async fn dispose(&self, url: &str) -> Result<(), Failure>;

    /// Removes a folder with all that is in it.
    async fn remove_folder(&self, folder: &str) -> Result<(), Failure>;
}
