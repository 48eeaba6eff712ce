//! What a stream's writer has taken and not made visible: the parts of each partition, from checkpoint to checkpoint, until there are enough of them
//! for a file.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt as _, stream};
use thalweg_graph::{Attempt, checkpoint::SinkState};

use super::{
    committable::StagedFile,
    output::Written,
    part::{Part, PartFile, Slice, WriterState},
};
use crate::{
    error::{Error, Result},
    file_system::{Location, registry::FileSystems},
};

/// With more parts of one partition than these, the newest half of them becomes one: a checkpoint names them all.
const PARTS_MAX: usize = 64;

/// Rows of one partition whose file was ended.
pub struct Closed {
    /// The folder of the partition below the table.
    pub partition: String,
    /// Their bytes.
    pub written: Written,
    /// How many they are.
    pub rows: u64,
    /// When the first one came.
    pub since_ms: i64,
}

/// The parts, and where they are kept.
pub struct Rolling {
    file_systems: Arc<FileSystems>,
    uid: String,
    folder: String,
    attempt: Attempt,
    layout: String,
    parts: BTreeMap<String, Vec<Part>>,
    next_file: u64,
}

impl Rolling {
    /// Those that a checkpoint kept, if the job goes on from one, as parts of this job.
    pub async fn open(
        file_systems: &Arc<FileSystems>,
        uid: String,
        folder: &str,
        attempt: Attempt,
        restored: WriterState,
    ) -> Result<Self> {
        let mut rolling = Self {
            file_systems: Arc::clone(file_systems),
            uid,
            folder: folder.trim_end_matches('/').to_owned(),
            attempt,
            layout: restored.layout,
            parts: BTreeMap::new(),
            next_file: 0,
        };
        rolling.adopt(restored.parts).await?;
        Ok(rolling)
    }

    /// Takes parts; those that belong to a savepoint or to another job may go with it, so they are copied.
    async fn adopt(&mut self, parts: Vec<Part>) -> Result<()> {
        let mut file = self.next_file()?;
        let own = format!("{}/", self.folder);
        for mut part in parts {
            if !part.file.starts_with(&own) {
                let slice = Slice::of(&self.file_systems, &part)?;
                part = file.append(part, slice.pieces()).await?;
            }
            self.parts.entry(part.partition.clone()).or_default().push(part);
        }
        file.close().await
    }

    /// A file for parts, which is created with the first one.
    pub fn next_file(&mut self) -> Result<PartFile> {
        self.next_file += 1;
        PartFile::new(&self.file_systems, &self.folder, self.attempt, self.next_file)
    }

    /// The partitions of which there are rows.
    pub fn partitions(&self) -> impl Iterator<Item = &String> {
        self.parts.keys()
    }

    /// The bytes of a partition's rows, and when the first of them came.
    pub fn extent(&self, partition: &str) -> Option<(u64, i64)> {
        let parts = self.parts.get(partition)?;
        let since_ms = parts.iter().map(|part| part.since_ms).min()?;
        Some((parts.iter().map(|part| part.bytes).sum(), since_ms))
    }

    /// Gives a partition's parts away.
    pub fn take(&mut self, partition: &str) -> Vec<Part> {
        self.parts.remove(partition).unwrap_or_default()
    }

    /// Gives parts of a partition away that are too many, the newest ones.
    pub fn take_surplus(&mut self, partition: &str) -> Vec<Part> {
        match self.parts.get_mut(partition) {
            Some(parts) if parts.len() > PARTS_MAX => parts.split_off(PARTS_MAX / 2),
            _ => Vec::new(),
        }
    }

    /// The place of a part's bytes.
    pub fn slice(&self, part: &Part) -> Result<Slice> {
        Slice::of(&self.file_systems, part)
    }

    /// Keeps rows as a part: in `file`, or, where they are a file already, as one of its own. `staging` is the table's file system.
    pub async fn keep(&mut self, closed: Closed, file: &mut PartFile, staging: &Location) -> Result<()> {
        let Closed { partition, written, rows, since_ms } = closed;
        let Written { path, held, bytes } = written;
        let part = Part { file: String::new(), offset: 0, bytes, rows, partition, since_ms };
        let part = match held {
            Some(held) => file.append(part, stream::iter(held.into_iter().map(Ok)).boxed()).await?,
            None => {
                let own = self.next_file()?;
                match own.location().file_system.root() == staging.file_system.root() {
                    true => own.take_over(part, &path).await?,
                    false => {
                        let location = Location { path, ..staging.clone() };
                        let copied = Slice { location: location.clone(), offset: 0, bytes };
                        let part = file.append(part, copied.pieces()).await?;
                        location.file_system.delete(&location.path).await?;
                        part
                    }
                }
            }
        };
        self.parts.entry(part.partition.clone()).or_default().push(part);
        Ok(())
    }

    /// What a checkpoint keeps, with partitions that are not marked.
    pub fn state(&self, open: BTreeMap<String, i64>) -> Result<Option<SinkState>> {
        self.encoded(self.parts.values().flatten().cloned().collect(), open)
    }

    /// What a savepoint keeps that the job survives: copies of all that is not visible, in the savepoint's folder.
    pub async fn copied(
        &mut self,
        folder: &str,
        finished: &[StagedFile],
        staging: &Location,
        open: BTreeMap<String, i64>,
    ) -> Result<Option<SinkState>> {
        self.next_file += 1;
        let mut file = PartFile::new(&self.file_systems, folder, self.attempt, self.next_file)?;
        let mut copies = Vec::new();
        for part in self.parts.values().flatten() {
            let slice = Slice::of(&self.file_systems, part)?;
            copies.push(file.append(part.clone(), slice.pieces()).await?);
        }
        for StagedFile { staged, partition, rows, bytes } in finished {
            let location = Location { path: staged.clone(), ..staging.clone() };
            let slice = Slice { location, offset: 0, bytes: *bytes };
            let part = Part {
                file: String::new(),
                offset: 0,
                bytes: *bytes,
                rows: *rows,
                partition: partition.clone(),
                since_ms: now_ms(),
            };
            copies.push(file.append(part, slice.pieces()).await?);
        }
        file.close().await?;
        self.encoded(copies, open)
    }

    fn encoded(&self, parts: Vec<Part>, open: BTreeMap<String, i64>) -> Result<Option<SinkState>> {
        WriterState { layout: self.layout.clone(), parts, open }.encode(&self.uid)
    }
}

/// What checkpoints kept of several writers; it must be written as the table's files are now.
pub fn restored(states: &[SinkState], layout: String) -> Result<WriterState> {
    let mut all = WriterState { layout, ..WriterState::default() };
    for state in states {
        let restored = WriterState::decode(state)?;
        let layout = &all.layout;
        if restored.layout != *layout && !restored.parts.is_empty() {
            return Err(Error::Invalid(format!(
                "the checkpoint keeps rows of `{}` that are not visible yet, written as `{}`, and the table is written as `{layout}` now; \
                 stop the job with a savepoint before the table is changed: then all rows are visible",
                state.uid, restored.layout
            )));
        }
        all.parts.extend(restored.parts);
        all.open.extend(restored.open);
    }
    Ok(all)
}

/// The time of the clock, in milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
