//! Stores an attempt's snapshots, of each only what no earlier one has stored, and reads them back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use arrow::ipc::CompressionType;
use bytes::Bytes;
use datafusion::error::DataFusionError;
use futures::{StreamExt as _, stream};
use object_store::{ObjectStoreExt as _, path::Path};
use thalweg_connectors::file_system::{FileWriter, registry::FileSystems};
use thalweg_graph::{
    Attempt, CheckpointId, SubtaskId,
    checkpoint::{Manifest, OperatorState, StoredChunk},
};

use super::{
    chunk::{ChunkId, StateChunk},
    file,
    key_group::{self, KeyGroup},
    snapshot::{Restored, Snapshot, StoredRows},
};

/// Chunks that are read before the operator has taken the one at hand.
const CHUNKS_AHEAD: usize = 3;

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
    /// A part is neither stored nor at hand.
    #[error("a part of the state of `{uid}` is neither stored nor at hand")]
    Lost {
        /// The operator.
        uid: String,
    },
    /// Rows cannot be written.
    #[error("a state cannot be written")]
    Encode(#[from] arrow::error::ArrowError),
    /// Rows cannot be divided.
    #[error(transparent)]
    Rows(#[from] DataFusionError),
    /// An operator does not take back what was read.
    #[error(transparent)]
    Refused(DataFusionError),
}

/// Where one attempt stores its state.
pub struct SnapshotStore {
    file_systems: Arc<FileSystems>,
    /// The folder of the job's checkpoints, as a URL.
    folder: String,
    attempt: Attempt,
    /// What is stored already, each in one chunk or several.
    stored: HashMap<ChunkId, Vec<StoredChunk>>,
    /// What is to be stored.
    unstored: HashMap<ChunkId, Part>,
}

/// A part of an operator's state.
enum Part {
    Chunk(Arc<StateChunk>),
    Rows(Arc<dyn StoredRows>),
}

/// What an operator's state is made of, in order.
struct OperatorParts {
    uid: String,
    value: Bytes,
    parts: Vec<ChunkId>,
}

impl SnapshotStore {
    /// A store below the folder of the job's checkpoints.
    pub fn new(file_systems: Arc<FileSystems>, folder: String, attempt: Attempt) -> Self {
        Self { file_systems, folder, attempt, stored: HashMap::new(), unstored: HashMap::new() }
    }

    /// Stores what is new of an attempt's state. A savepoint, which has a folder of its own, stores all of it there: nothing that it needs
    /// may go with the job.
    pub async fn store(
        &mut self,
        checkpoint: CheckpointId,
        savepoint: Option<&str>,
        states: Vec<(String, Snapshot)>,
    ) -> Result<(Vec<OperatorState>, StoredBytes), Error> {
        let states = self.take(states);
        let mut bytes = StoredBytes::default();
        let url = state_file(savepoint.unwrap_or(&self.folder), checkpoint, self.attempt);
        let mut file = StateFile { file_systems: &self.file_systems, url, writer: None, bytes: 0 };
        let mut kept = HashMap::new();
        let mut operators = Vec::with_capacity(states.len());
        for OperatorParts { uid, value, parts } in states {
            let mut chunks = Vec::new();
            for id in parts {
                let known = self.stored.get(&id);
                let stored = match (known, self.unstored.get(&id)) {
                    (Some(stored), _) if savepoint.is_none() => stored.clone(),
                    (_, Some(part)) => file.append_part(part).await?,
                    (Some(stored), None) => file.copy(stored).await?,
                    (None, None) => return Err(Error::Lost { uid }),
                };
                let stored_bytes: u64 = stored.iter().map(|chunk| chunk.bytes).sum();
                bytes.all += stored_bytes;
                chunks.extend(stored.iter().cloned());
                kept.insert(id, stored);
            }
            if !chunks.is_empty() || !value.is_empty() {
                operators.push(OperatorState { uid, value, chunks });
            }
        }
        bytes.stored = file.bytes;
        file.close().await?;
        if savepoint.is_none() {
            self.stored = kept;
            self.unstored.clear();
        } else {
            let stored = &self.stored;
            self.unstored.retain(|id, _| !stored.contains_key(id));
        }
        Ok((operators, bytes))
    }

    /// Takes note of what snapshots are made of. What is not stored yet is held until it is: the operator may not have it any more.
    fn take(&mut self, states: Vec<(String, Snapshot)>) -> Vec<OperatorParts> {
        let mut given = HashMap::new();
        let mut operators = Vec::with_capacity(states.len());
        for (uid, Snapshot { kept, on_disk, chunks, value }) in states {
            let mut parts = kept;
            for rows in on_disk {
                parts.push(rows.id());
                given.insert(rows.id(), Part::Rows(rows));
            }
            for chunk in chunks {
                parts.push(chunk.id());
                given.insert(chunk.id(), Part::Chunk(chunk));
            }
            operators.push(OperatorParts { uid, value: value.unwrap_or_default(), parts });
        }
        let wanted: HashSet<ChunkId> =
            operators.iter().flat_map(|operator| operator.parts.iter().copied()).collect();
        self.unstored.retain(|id, _| wanted.contains(id));
        self.unstored.extend(given);
        operators
    }

    /// Reads the state of those operators that are wanted, of all subtasks that there were, as far as it is of these key groups. Chunks of
    /// those `in_parts` are handed to `take` as they come.
    pub async fn restore(
        &mut self,
        manifest: &Manifest,
        groups: &Range<KeyGroup>,
        wanted: &BTreeSet<String>,
        in_parts: &BTreeSet<String>,
        mut take: impl FnMut(&str, Restored) -> Result<(), DataFusionError>,
    ) -> Result<BTreeMap<String, Restored>, Error> {
        let mut restored = BTreeMap::<String, Restored>::new();
        let mut wanted_chunks = Vec::new();
        let operators: Vec<(SubtaskId, &OperatorState)> = manifest
            .subtasks
            .iter()
            .flat_map(|(id, subtask)| subtask.operators.iter().map(|operator| (*id, operator)))
            .collect();
        for (id, operator) in operators {
            if !wanted.contains(&operator.uid) {
                continue;
            }
            let state = restored.entry(operator.uid.clone()).or_default();
            if !operator.value.is_empty() && had_some_of(manifest, id, groups) {
                state.values.push(operator.value.clone());
            }
            let chunks = operator.chunks.iter().filter(|stored| {
                let (first, last) = stored.key_groups;
                last >= groups.start && first < groups.end
            });
            wanted_chunks.extend(chunks.map(|stored| (operator.uid.clone(), stored.clone())));
        }
        // The next ones are read and decoded while the operator takes one.
        let (file_systems, groups) = (Arc::clone(&self.file_systems), groups.clone());
        let reading = stream::iter(wanted_chunks)
            .map(|(uid, stored)| read_chunk(Arc::clone(&file_systems), uid, stored, groups.clone()));
        let mut reading = reading.buffered(CHUNKS_AHEAD);
        while let Some(read) = reading.next().await {
            let ReadChunk { uid, stored, chunk, is_whole } = read?;
            // What is whole is stored already, for the checkpoints to come too; unless its file belongs to somebody else.
            let unstored = !is_whole || !owns(&self.folder, &stored.file);
            if !unstored {
                self.stored.insert(chunk.id(), vec![stored]);
            }
            if in_parts.contains(&uid) {
                let part = Restored { chunks: vec![chunk], unstored, values: Vec::new() };
                take(&uid, part).map_err(Error::Refused)?;
            } else if let Some(state) = restored.get_mut(&uid) {
                state.chunks.push(chunk);
                state.unstored |= unstored;
            }
        }
        Ok(restored)
    }
}

fn owns(folder: &str, file: &str) -> bool {
    file.strip_prefix(folder.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}

/// A chunk as it was read: of some key groups.
struct ReadChunk {
    uid: String,
    stored: StoredChunk,
    chunk: Arc<StateChunk>,
    /// Whether it has no other ones.
    is_whole: bool,
}

async fn read_chunk(
    file_systems: Arc<FileSystems>,
    uid: String,
    stored: StoredChunk,
    groups: Range<KeyGroup>,
) -> Result<ReadChunk, Error> {
    let block = read(&file_systems, &stored).await?;
    let decoding = tokio::task::spawn_blocking(move || {
        let whole = file::decode(&stored, block)?;
        let chunk = whole.restricted(&groups)?;
        Ok(ReadChunk { uid, stored, is_whole: chunk.id() == whole.id(), chunk })
    });
    // A panic goes on as one; nothing else stops it.
    decoding.await.unwrap_or_else(|stopped| std::panic::resume_unwind(stopped.into_panic()))
}

/// Whether a subtask that there was had some of these key groups.
fn had_some_of(manifest: &Manifest, id: SubtaskId, groups: &Range<KeyGroup>) -> bool {
    let parallelism = manifest.subtasks.iter().filter(|(other, _)| other.vertex == id.vertex).count() as u32;
    let had = key_group::of_subtask(id.index, manifest.key_groups, parallelism);
    had.start < groups.end && groups.start < had.end
}

async fn read(file_systems: &FileSystems, stored: &StoredChunk) -> Result<Bytes, Error> {
    let location = file_systems.locate_state(&stored.file)?;
    let failed = |source| Error::Read { file: stored.file.clone(), source };
    let path = Path::parse(location.path.trim_start_matches('/')).map_err(|error| failed(error.into()))?;
    let range = stored.offset..stored.offset + stored.bytes;
    location.file_system.object_store().get_range(&path, range).await.map_err(failed)
}

/// Bytes of a snapshot.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoredBytes {
    /// Of all of it.
    pub all: u64,
    /// Of what was stored for it.
    pub stored: u64,
}

fn state_file(folder: &str, checkpoint: CheckpointId, attempt: Attempt) -> String {
    let folder = folder.trim_end_matches('/');
    let (vertex, index, number) = (attempt.subtask.vertex.0, attempt.subtask.index, attempt.number);
    format!("{folder}/state/{checkpoint}-{vertex}-{index}-{number}.state")
}

/// A file that is written a block at a time; none where there is nothing to write.
struct StateFile<'a> {
    file_systems: &'a FileSystems,
    url: String,
    writer: Option<Box<dyn FileWriter>>,
    bytes: u64,
}

/// How state in files of this file system is compressed: not on a disk of this machine.
fn compression(url: &str) -> Option<CompressionType> {
    (!url.starts_with("file:")).then_some(CompressionType::LZ4_FRAME)
}

impl StateFile<'_> {
    async fn append_part(&mut self, part: &Part) -> Result<Vec<StoredChunk>, Error> {
        match part {
            Part::Chunk(chunk) => Ok(vec![self.append(chunk).await?]),
            Part::Rows(rows) => {
                let mut stored = Vec::new();
                for chunk in rows.chunks() {
                    stored.push(self.append(&*chunk?).await?);
                }
                Ok(stored)
            }
        }
    }

    async fn append(&mut self, chunk: &StateChunk) -> Result<StoredChunk, Error> {
        let block = file::encode(chunk, compression(&self.url))?;
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
        self.write(block).await?;
        Ok(stored)
    }

    /// Blocks that are in other files.
    async fn copy(&mut self, chunks: &[StoredChunk]) -> Result<Vec<StoredChunk>, Error> {
        let mut stored = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let block = read(self.file_systems, chunk).await?;
            stored.push(StoredChunk { file: self.url.clone(), offset: self.bytes, ..chunk.clone() });
            self.write(block).await?;
        }
        Ok(stored)
    }

    async fn write(&mut self, block: Bytes) -> Result<(), Error> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let location = self.file_systems.locate_state(&self.url)?;
                none.insert(location.file_system.create(&location.path).await?)
            }
        };
        self.bytes += block.len() as u64;
        Ok(writer.write(block).await?)
    }

    async fn close(self) -> Result<(), Error> {
        match self.writer {
            Some(mut writer) => Ok(writer.close().await?),
            None => Ok(()),
        }
    }
}
