//! Stores an attempt's snapshots, of each only what no earlier one has stored, and reads them back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use object_store::{ObjectStoreExt as _, path::Path};
use thalweg_connectors::file_system::registry::FileSystems;
use thalweg_graph::{
    Attempt, CheckpointId,
    checkpoint::{Manifest, OperatorState, StoredChunk},
};

use super::{
    chunk::{ChunkId, StateChunk},
    file,
    key_group::KeyGroup,
    snapshot::{Restored, Snapshot},
};

/// State that could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file system said no.
    #[error(transparent)]
    FileSystem(#[from] thalweg_connectors::Error),
    /// A file cannot be read.
    #[error("cannot read the state in `{file}`")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: object_store::Error,
    },
    /// A block is not what was written.
    #[error(transparent)]
    Block(#[from] file::Error),
    /// Rows cannot be written.
    #[error("a state cannot be written")]
    Encode(#[from] arrow::error::ArrowError),
    /// Rows cannot be divided.
    #[error(transparent)]
    Rows(#[from] datafusion::error::DataFusionError),
}

/// Where one attempt stores its state.
pub struct SnapshotStore {
    file_systems: Arc<FileSystems>,
    /// The folder of the job's checkpoints, as a URL.
    folder: String,
    attempt: Attempt,
    /// What is stored already.
    stored: HashMap<ChunkId, StoredChunk>,
}

impl SnapshotStore {
    /// A store below the folder of the job's checkpoints.
    pub fn new(file_systems: Arc<FileSystems>, folder: String, attempt: Attempt) -> Self {
        Self { file_systems, folder, attempt, stored: HashMap::new() }
    }

    /// Stores what is new of an attempt's state. A savepoint, which has a folder of its own, stores all of it there: nothing that it needs
    /// may go with the job.
    pub async fn store(
        &mut self,
        checkpoint: CheckpointId,
        savepoint: Option<&str>,
        states: Vec<(String, Snapshot)>,
    ) -> Result<(Vec<OperatorState>, StoredBytes), Error> {
        let mut bytes = StoredBytes::default();
        let mut file = StateFile::new(savepoint.unwrap_or(&self.folder), checkpoint, self.attempt);
        let mut kept = HashMap::new();
        let mut operators = Vec::with_capacity(states.len());
        for (uid, snapshot) in states {
            let mut chunks = Vec::with_capacity(snapshot.chunks.len());
            for chunk in &snapshot.chunks {
                let known = self.stored.get(&chunk.id()).filter(|_| savepoint.is_none()).cloned();
                let stored = match known {
                    Some(stored) => stored,
                    None => {
                        let stored = file.append(chunk)?;
                        bytes.stored += stored.bytes;
                        stored
                    }
                };
                bytes.all += stored.bytes;
                kept.insert(chunk.id(), stored.clone());
                chunks.push(stored);
            }
            let value = snapshot.value.unwrap_or_default();
            if !chunks.is_empty() || !value.is_empty() {
                operators.push(OperatorState { uid, value, chunks });
            }
        }
        file.write(&self.file_systems).await?;
        if savepoint.is_none() {
            self.stored = kept;
        }
        Ok((operators, bytes))
    }

    /// Reads the state of those operators that are wanted, of all subtasks that there were, as far as it is of these key groups.
    pub async fn restore(
        &mut self,
        manifest: &Manifest,
        groups: &Range<KeyGroup>,
        wanted: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Restored>, Error> {
        let mut restored = BTreeMap::<String, Restored>::new();
        let operators: Vec<&OperatorState> =
            manifest.subtasks.iter().flat_map(|(_, subtask)| &subtask.operators).collect();
        for operator in operators {
            if !wanted.contains(&operator.uid) {
                continue;
            }
            let state = restored.entry(operator.uid.clone()).or_default();
            if !operator.value.is_empty() {
                state.values.push(operator.value.clone());
            }
            for stored in &operator.chunks {
                let (first, last) = stored.key_groups;
                if last < groups.start || first >= groups.end {
                    continue;
                }
                let whole = file::decode(stored, self.read(stored).await?)?;
                let chunk = whole.restricted(groups)?;
                // What is whole is stored already, for the checkpoints to come too; unless its file belongs to somebody else.
                if chunk.id() == whole.id() && self.owns(&stored.file) {
                    self.stored.insert(chunk.id(), stored.clone());
                }
                state.chunks.push(chunk);
            }
        }
        Ok(restored)
    }

    fn owns(&self, file: &str) -> bool {
        file.strip_prefix(self.folder.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
    }

    async fn read(&self, stored: &StoredChunk) -> Result<Bytes, Error> {
        let location = self.file_systems.locate(&stored.file)?;
        let failed = |source| Error::Read { file: stored.file.clone(), source };
        let path =
            Path::parse(location.path.trim_start_matches('/')).map_err(|error| failed(error.into()))?;
        let range = stored.offset..stored.offset + stored.bytes;
        location.file_system.object_store().get_range(&path, range).await.map_err(failed)
    }
}

/// Bytes of a snapshot.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoredBytes {
    /// Of all of it.
    pub all: u64,
    /// Of what was stored for it.
    pub stored: u64,
}

/// A file to be written.
struct StateFile {
    url: String,
    blocks: Vec<Bytes>,
    bytes: u64,
}

impl StateFile {
    fn new(folder: &str, checkpoint: CheckpointId, attempt: Attempt) -> Self {
        let folder = folder.trim_end_matches('/');
        let (vertex, index, number) = (attempt.subtask.vertex.0, attempt.subtask.index, attempt.number);
        let url = format!("{folder}/state/{checkpoint}-{vertex}-{index}-{number}.state");
        Self { url, blocks: Vec::new(), bytes: 0 }
    }

    fn append(&mut self, chunk: &StateChunk) -> Result<StoredChunk, Error> {
        let block = file::encode(chunk)?;
        let groups = &chunk.key_groups;
        let stored = StoredChunk {
            table: chunk.table,
            file: self.url.clone(),
            offset: self.bytes,
            bytes: block.len() as u64,
            rows: groups.len() as u64,
            key_groups: (
                groups.iter().min().copied().unwrap_or(0),
                groups.iter().max().copied().unwrap_or(0),
            ),
        };
        self.bytes += stored.bytes;
        self.blocks.push(block);
        Ok(stored)
    }

    async fn write(self, file_systems: &FileSystems) -> Result<(), Error> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        let location = file_systems.locate(&self.url)?;
        let mut writer = location.file_system.create(&location.path).await?;
        for block in self.blocks {
            writer.write(block).await?;
        }
        Ok(writer.close().await?)
    }
}
