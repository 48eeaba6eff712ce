//! The newest snapshot of the replicated state, as a file beside the log.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{encoding, state::State, types::SnapshotMeta};
use crate::disk::Disk;

/// A state as of an entry of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub(super) meta: SnapshotMeta,
    pub(super) state: State,
}

/// A snapshot that cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("cannot use `{}`", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it.
    #[error("the quorum's snapshot `{}`: {source}", file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// Why.
        source: encoding::Error,
    },
}

/// Where it lies.
#[derive(Debug, Clone)]
pub(super) struct SnapshotFile {
    file: PathBuf,
    disk: Arc<dyn Disk>,
}

impl SnapshotFile {
    pub(super) fn in_folder(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self { file: folder.join("snapshot"), disk }
    }

    /// Reads it, if there is one.
    pub(super) fn read(&self) -> Result<Option<(Snapshot, Vec<u8>)>, Error> {
        let read = self.disk.read(&self.file).map_err(|source| self.error(source))?;
        let Some(bytes) = read else { return Ok(None) };
        let snapshot = self.decode(&bytes)?;
        Ok(Some((snapshot, bytes)))
    }

    /// Reads one that came from another member.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Snapshot, Error> {
        encoding::decode(bytes).map_err(|source| Error::Content { file: self.file.clone(), source })
    }

    pub(super) fn encode(&self, snapshot: &Snapshot) -> Result<Vec<u8>, Error> {
        encoding::encode(snapshot).map_err(|source| Error::Content { file: self.file.clone(), source })
    }

    /// Replaces it: either the old one is there or the new one, whole.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        self.disk.replace(&self.file, bytes).map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> Error {
        Error::File { file: self.file.clone(), source }
    }
}
