//! Parts: rows of a stream that are durable and not visible yet. A part is a piece of a file among the state of the job's checkpoints, so that it
//! stays as long as a checkpoint names it, and no longer.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{ObjectStoreExt as _, path::Path};
use serde::{Deserialize, Serialize};
use thalweg_graph::{
    Attempt,
    checkpoint::{SinkFile, SinkState},
};

use crate::{
    error::{Error, Result},
    file_system::{FileWriter, Location, parent, registry::FileSystems},
};

/// Bytes of a part that are fetched at once.
const PIECE_BYTES: u64 = 4 << 20;

/// Rows of one partition of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The file, as a URL.
    pub file: String,
    /// Where the part begins there.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The folder of its partition below the table.
    pub partition: String,
    /// When its first row came, in milliseconds since 1970.
    pub since_ms: i64,
}

/// What a writer keeps in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WriterState {
    /// How the parts are written: format and columns.
    pub layout: String,
    /// Rows that are not visible.
    pub parts: Vec<Part>,
    /// Partitions that are not known to be marked as complete, each with when its first row came, in milliseconds since 1970.
    #[serde(default)]
    pub open: BTreeMap<String, i64>,
}

impl WriterState {
    /// As a checkpoint has it; none where there is nothing to keep.
    pub fn encode(&self, uid: &str) -> Result<Option<SinkState>> {
        if self.parts.is_empty() && self.open.is_empty() {
            return Ok(None);
        }
        let value = serde_json::to_vec(self).map_err(|error| Error::Internal(error.to_string()))?;
        let mut files: Vec<SinkFile> = Vec::new();
        for part in &self.parts {
            let end = part.offset + part.bytes;
            match files.iter_mut().find(|file| file.file == part.file) {
                Some(file) => file.bytes = file.bytes.max(end),
                None => files.push(SinkFile { file: part.file.clone(), bytes: end }),
            }
        }
        Ok(Some(SinkState { uid: uid.to_owned(), value: value.into(), files }))
    }

    /// Back from a checkpoint.
    pub fn decode(state: &SinkState) -> Result<Self> {
        serde_json::from_slice(&state.value).map_err(|error| {
            Error::Internal(format!("the state of `{}` cannot be decoded: {error}", state.uid))
        })
    }
}

/// Bytes of a file that are read in order.
#[derive(Debug, Clone)]
pub struct Slice {
    /// The file.
    pub location: Location,
    /// Where they begin there.
    pub offset: u64,
    /// How many they are.
    pub bytes: u64,
}

impl Slice {
    /// Those of a part.
    pub fn of(file_systems: &FileSystems, part: &Part) -> Result<Self> {
        Ok(Self { location: file_systems.locate(&part.file)?, offset: part.offset, bytes: part.bytes })
    }

    /// Some of them, counted from the first.
    pub async fn range(&self, range: std::ops::Range<u64>) -> Result<Bytes> {
        let url = self.location.url();
        let failed = |error: object_store::Error| Error::from_store("read", &url, error);
        let path =
            Path::parse(self.location.path.trim_start_matches('/')).map_err(|error| failed(error.into()))?;
        let range = self.offset + range.start..self.offset + range.end;
        self.location.file_system.object_store().get_range(&path, range).await.map_err(failed)
    }

    /// All of them, in pieces.
    pub fn pieces(self) -> BoxStream<'static, Result<Bytes>> {
        let starts: Vec<u64> = (0..self.bytes).step_by(PIECE_BYTES as usize).collect();
        let slice = Arc::new(self);
        stream::iter(starts)
            .then(move |start| {
                let slice = Arc::clone(&slice);
                async move { slice.range(start..slice.bytes.min(start + PIECE_BYTES)).await }
            })
            .boxed()
    }
}

/// A file of parts that is written; it is created with the first one.
pub struct PartFile {
    location: Location,
    writer: Option<Box<dyn FileWriter>>,
    bytes: u64,
}

impl PartFile {
    /// The n-th one of an attempt below a checkpoint's folder.
    pub fn new(file_systems: &FileSystems, folder: &str, attempt: Attempt, n: u64) -> Result<Self> {
        let folder = folder.trim_end_matches('/');
        let (vertex, index, number) = (attempt.subtask.vertex.0, attempt.subtask.index, attempt.number);
        let url = format!("{folder}/state/rows-{vertex}-{index}-{number}-{n}.parts");
        Ok(Self { location: file_systems.locate(&url)?, writer: None, bytes: 0 })
    }

    /// Appends the bytes of a part; returns it with its place.
    pub async fn append(&mut self, part: Part, mut pieces: BoxStream<'_, Result<Bytes>>) -> Result<Part> {
        if self.writer.is_none() {
            self.writer = Some(self.location.file_system.create(&self.location.path).await?);
        }
        let offset = self.bytes;
        while let Some(piece) = pieces.try_next().await? {
            self.bytes += piece.len() as u64;
            if let Some(writer) = &mut self.writer {
                writer.write(piece).await?;
            }
        }
        Ok(Part { file: self.location.url(), offset, bytes: self.bytes - offset, ..part })
    }

    /// Makes this file of one that is there and is one part, where it is in the same file system.
    pub async fn take_over(self, part: Part, path: &str) -> Result<Part> {
        let file_system = &self.location.file_system;
        file_system.create_dirs(parent(&self.location.path)).await?;
        file_system.rename(path, &self.location.path).await?;
        Ok(Part { file: self.location.url(), offset: 0, ..part })
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// All of it is durable when this returns.
    pub async fn close(self) -> Result<()> {
        match self.writer {
            Some(mut writer) => writer.close().await,
            None => Ok(()),
        }
    }
}
