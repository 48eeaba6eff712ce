//! Keeps the manifests of checkpoints on the file systems that tables may name, for the control plane, which knows none.

use std::sync::Arc;

use async_trait::async_trait;
use thalweg_connectors::{BuiltinConnectors, Error, checkpoint_storage};
use thalweg_graph::{Failure, checkpoint::Manifest};
use thalweg_scheduler::CheckpointStorage;

/// Manifests in files.
pub struct CheckpointFiles {
    connectors: Arc<BuiltinConnectors>,
}

impl CheckpointFiles {
    /// Reaches files through these connectors.
    pub fn new(connectors: Arc<BuiltinConnectors>) -> Self {
        Self { connectors }
    }
}

#[async_trait]
impl CheckpointStorage for CheckpointFiles {
    fn check(&self, url: &str) -> Result<(), Failure> {
        let allowed = self.connectors.file_systems().check_state(url);
        allowed.map_err(|error| Failure::new(error.kind(), error.chain()))
    }

    async fn write(&self, url: &str, manifest: &Manifest) -> Result<(), Failure> {
        let written = checkpoint_storage::write(self.connectors.file_systems(), url, manifest).await;
        written.map_err(|error| failure("cannot write the checkpoint", &error))
    }

    async fn read(&self, url: &str) -> Result<Manifest, Failure> {
        let read = checkpoint_storage::read(self.connectors.file_systems(), url).await;
        read.map_err(|error| failure("cannot read the checkpoint", &error))
    }

    async fn remove(&self, manifest: &str, kept: &[String]) -> Result<(), Failure> {
        let removed = checkpoint_storage::remove(self.connectors.file_systems(), manifest, kept).await;
        removed.map_err(|error| failure("cannot remove the checkpoint", &error))
    }

    async fn dispose(&self, url: &str) -> Result<(), Failure> {
        let disposed = checkpoint_storage::dispose(self.connectors.file_systems(), url).await;
        disposed.map_err(|error| failure("cannot remove the savepoint", &error))
    }

    async fn remove_folder(&self, folder: &str) -> Result<(), Failure> {
        let removed = checkpoint_storage::remove_folder(self.connectors.file_systems(), folder).await;
        removed.map_err(|error| failure("cannot remove the checkpoints", &error))
    }
}

fn failure(what: &str, error: &Error) -> Failure {
    Failure::new(error.kind(), format!("{what}: {}", error.chain()))
}
