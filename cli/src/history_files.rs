//! Keeps jobs that have ended in files of a folder on the file systems that tables may name, for the control plane, which knows none.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use thalweg_connectors::{BuiltinConnectors, Error, file_system::Location};
use thalweg_graph::{Failure, Options, options};
use thalweg_scheduler::{History, HistoryStorage};

/// Begins the names of files that are not complete.
const UNFINISHED: &str = ".";

/// Files of one folder.
pub struct HistoryFiles {
    connectors: Arc<BuiltinConnectors>,
    folder: String,
}

impl HistoryFiles {
    /// The history that the options name, if they do.
    pub fn open(options: &Options, connectors: Arc<BuiltinConnectors>) -> anyhow::Result<Option<History>> {
        let folder: String = options.get(&options::ARCHIVE_DIR)?;
        if folder.is_empty() {
            return Ok(None);
        }
        let retained = options.get(&options::ARCHIVE_RETAINED_JOBS)?;
        let files = Self { connectors, folder };
        files.locate().map_err(|error| {
            anyhow::anyhow!("`{}` cannot be `{}`: {}", options::ARCHIVE_DIR.name, files.folder, error.chain())
        })?;
        Ok(Some(History::open(Arc::new(files), retained as usize)))
    }

    fn locate(&self) -> Result<Location, Error> {
        self.connectors.file_systems().locate_operators(&self.folder)
    }

    fn failure(&self, what: &str, error: &Error) -> Failure {
        Failure::new(error.kind(), format!("{what} the history in `{}`: {}", self.folder, error.chain()))
    }
}

fn path(folder: &Location, name: &str) -> String {
    format!("{}/{name}", folder.path.trim_end_matches('/'))
}

async fn list(folder: &Location) -> Result<Vec<String>, Error> {
    let files = match folder.file_system.list(&folder.path).await {
        Err(Error::NotFound { .. }) => return Ok(Vec::new()),
        files => files?,
    };
    let files = files.iter().filter(|file| !file.is_dir).map(|file| file.name());
    Ok(files.filter(|name| !name.starts_with(UNFINISHED)).map(str::to_owned).collect())
}

async fn write(folder: &Location, name: &str, bytes: Bytes) -> Result<(), Error> {
    folder.file_system.create_dirs(&folder.path).await?;
    match folder.file_system.create_atomically(&path(folder, name), bytes).await {
        // Names are used once: it is that of a try whose answer was lost.
        Err(Error::AlreadyExists { .. }) => Ok(()),
        outcome => outcome,
    }
}

#[async_trait]
impl HistoryStorage for HistoryFiles {
    async fn list(&self) -> Result<Vec<String>, Failure> {
        let folder = self.locate().map_err(|error| self.failure("cannot list", &error))?;
        list(&folder).await.map_err(|error| self.failure("cannot list", &error))
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>, Failure> {
        let folder = self.locate().map_err(|error| self.failure("cannot read", &error))?;
        match folder.file_system.read(&path(&folder, name)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failure("cannot read", &error)),
        }
    }

    async fn write(&self, name: &str, bytes: Bytes) -> Result<(), Failure> {
        let folder = self.locate().map_err(|error| self.failure("cannot write", &error))?;
        write(&folder, name, bytes).await.map_err(|error| self.failure("cannot write", &error))
    }

    async fn remove(&self, name: &str) -> Result<(), Failure> {
        let folder = self.locate().map_err(|error| self.failure("cannot remove from", &error))?;
        let removed = folder.file_system.delete(&path(&folder, name)).await;
        removed.map_err(|error| self.failure("cannot remove from", &error))
    }
}
