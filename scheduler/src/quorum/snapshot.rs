//! The newest snapshot of the replicated state, as a file beside the log.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{encoding, state::State, types::SnapshotMeta};

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
pub(super) struct SnapshotFile(PathBuf);

impl SnapshotFile {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self(folder.join("snapshot"))
    }

    /// Reads it, if there is one.
    pub(super) fn read(&self) -> Result<Option<(Snapshot, Vec<u8>)>, Error> {
        let bytes = match fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { file: self.0.clone(), source }),
        };
        let snapshot = self.decode(&bytes)?;
        Ok(Some((snapshot, bytes)))
    }

    /// Reads one that came from another member.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Snapshot, Error> {
        encoding::decode(bytes).map_err(|source| Error::Content { file: self.0.clone(), source })
    }

    pub(super) fn encode(&self, snapshot: &Snapshot) -> Result<Vec<u8>, Error> {
        encoding::encode(snapshot).map_err(|source| Error::Content { file: self.0.clone(), source })
    }

    /// Replaces it: either the old one is there or the new one, whole.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        let file_error = |source| Error::File { file: self.0.clone(), source };
        let unfinished = self.0.with_extension("unfinished");
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.0)?;
            match self.0.parent() {
                Some(folder) => File::open(folder)?.sync_all(),
                None => Ok(()),
            }
        };
        write().map_err(file_error)
    }
}
