//! Checkpoints: a barrier that passes through a job, what each subtask keeps at it, and the manifest that lists all of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    CheckpointId, JobId, SubtaskId,
    table::{Committable, SinkOutput},
};

/// What came before it belongs to a checkpoint, what comes after it does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Where a savepoint is written, which belongs to the user; `None` for a checkpoint, which belongs to the job.
    pub savepoint: Option<String>,
    /// What becomes of the job behind it.
    pub then: AfterBarrier,
}

/// What becomes of a job behind a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterBarrier {
    /// It goes on.
    GoOn,
    /// Its sources stop: nothing follows.
    Stop,
    /// The same, and before the barrier event time has come to its end, so that all windows are out.
    Drain,
}

/// A part of an operator's state in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChunk {
    /// Which of the operator's tables.
    pub table: u16,
    /// The file, as a URL.
    pub file: String,
    /// Where it begins there.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The lowest and the highest key group of its rows.
    pub key_groups: (u16, u16),
}

/// What one operator of one subtask keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorState {
    /// The operator's name for this.
    pub uid: String,
    /// What is not divided by keys.
    #[serde(with = "hex")]
    pub value: Bytes,
    /// The rest, in order.
    pub chunks: Vec<StoredChunk>,
}

/// Where the reader of one split is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPosition {
    /// The split's name.
    pub split: String,
    /// As its connector writes it.
    #[serde(with = "hex")]
    pub position: Bytes,
}

/// Where a source is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// The source's name for this.
    pub uid: String,
    /// Its splits.
    pub positions: Vec<StoredPosition>,
}

/// Rows that a sink has taken and that are not visible yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkState {
    /// The sink's name for this.
    pub uid: String,
    /// What they are, as the connector writes it.
    #[serde(with = "hex")]
    pub value: Bytes,
    /// The files in which they are.
    pub files: Vec<SinkFile>,
}

/// A file in which rows of a sink are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkFile {
    /// The file, as a URL.
    pub file: String,
    /// Its bytes, at least.
    pub bytes: u64,
}

/// What one subtask keeps at a barrier.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SubtaskSnapshot {
    /// Where its source is, if it has one.
    pub source: Option<SourceState>,
    /// Its operators' state.
    pub operators: Vec<OperatorState>,
    /// What its sink has prepared: to be committed when the checkpoint is complete.
    pub committables: Vec<Committable>,
    /// What its sink had prepared for older checkpoints that it has not been told are complete: so that no answer that was lost, and no
    /// checkpoint that was given up, takes output with it.
    #[serde(default)]
    pub earlier: Vec<(CheckpointId, Vec<Committable>)>,
    /// The names of its operators, where it has finished and all that they had to say is out.
    #[serde(default)]
    pub finished: BTreeSet<String>,
    /// What its sink has taken and not prepared.
    #[serde(default)]
    pub sink: Option<SinkState>,
    /// How it went.
    pub statistics: SnapshotStatistics,
}

/// How a subtask's part of a checkpoint went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotStatistics {
    /// From the first barrier to the last one.
    pub alignment_ms: u64,
    /// While the subtask stood still.
    pub sync_ms: u64,
    /// While it went on and its state was stored.
    pub async_ms: u64,
    /// Bytes of its state.
    pub state_bytes: u64,
    /// Those of them that were stored for this checkpoint.
    pub stored_bytes: u64,
}

/// All that a checkpoint keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format.
    pub version: u32,
    /// The job.
    pub job: JobId,
    /// Which checkpoint of it.
    pub checkpoint: CheckpointId,
    /// When it was begun, in milliseconds since 1970.
    pub triggered_ms: i64,
    /// How many key groups the job's keys are divided into.
    pub key_groups: u16,
    /// The statement that the job runs.
    pub statement: String,
    /// Whether it belongs to the user.
    #[serde(default)]
    pub savepoint: bool,
    /// By subtask.
    pub subtasks: Vec<(SubtaskId, SubtaskSnapshot)>,
    /// All sinks, with what they have prepared for it: whoever goes on from it makes that visible first, since the job's leader may have
    /// died before it did. Without secrets.
    #[serde(default)]
    pub sinks: Vec<SinkOutput>,
}

impl Manifest {
    /// The version that is written. The first one had no sinks, the second one no state of them.
    pub const VERSION: u32 = 3;

    /// The files that it needs.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let operators = self.subtasks.iter().flat_map(|(_, subtask)| &subtask.operators);
        let chunks = operators.flat_map(|operator| &operator.chunks).map(|chunk| chunk.file.as_str());
        chunks.chain(self.sink_files().map(|file| file.file.as_str()))
    }

    /// Those of them with rows that are not visible.
    pub fn sink_files(&self) -> impl Iterator<Item = &SinkFile> {
        self.subtasks.iter().filter_map(|(_, subtask)| subtask.sink.as_ref()).flat_map(|sink| &sink.files)
    }

    /// Whether all subtasks of the vertex with this operator had finished.
    pub fn has_finished(&self, uid: &str) -> bool {
        let is_finished = |subtask: &SubtaskSnapshot| subtask.finished.contains(uid);
        let vertex = self.subtasks.iter().find(|(_, subtask)| is_finished(subtask)).map(|(id, _)| id.vertex);
        let mut own = self.subtasks.iter().filter(|(id, _)| Some(id.vertex) == vertex);
        vertex.is_some() && own.all(|(_, subtask)| is_finished(subtask))
    }
}

/// A checkpoint that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedCheckpoint {
    /// Which.
    pub checkpoint: CheckpointId,
    /// Where its manifest is, as a URL.
    pub manifest: String,
    /// Whether it belongs to the user.
    pub savepoint: bool,
}

impl CompletedCheckpoint {
    /// The folder in which its manifest is, as a URL.
    pub fn folder(&self) -> &str {
        self.manifest.trim_end_matches("/_metadata")
    }
}

/// Bytes as text where people read, as they are elsewhere.
mod hex {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return bytes.serialize(serializer);
        }
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        if !deserializer.is_human_readable() {
            return Bytes::deserialize(deserializer);
        }
        let text = String::deserialize(deserializer)?;
        let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2).unwrap_or("?"), 16);
        let bytes: Result<Vec<u8>, _> = (0..text.len()).step_by(2).map(byte).collect();
        bytes
            .map(Bytes::from)
            .map_err(|_| D::Error::custom("bytes are written as pairs of hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VertexId;

    #[test]
    fn a_manifest_survives_both_encodings() {
        let chunk = StoredChunk {
            table: 1,
            file: "file:///c/a".to_owned(),
            offset: 8,
            bytes: 9,
            rows: 2,
            key_groups: (3, 4),
        };
        let operator = OperatorState {
            uid: "a".to_owned(),
            value: Bytes::from_static(b"\x00\xff"),
            chunks: vec![chunk],
        };
        let position = StoredPosition { split: "s".to_owned(), position: Bytes::from_static(b"7") };
        let snapshot = SubtaskSnapshot {
            source: Some(SourceState { uid: "t".to_owned(), positions: vec![position] }),
            operators: vec![operator],
            committables: vec![Committable(Bytes::from_static(b"c"))],
            earlier: vec![(CheckpointId(2), vec![Committable(Bytes::from_static(b"before"))])],
            finished: BTreeSet::new(),
            sink: Some(SinkState {
                uid: "s".to_owned(),
                value: Bytes::from_static(b"v"),
                files: vec![SinkFile { file: "file:///c/b".to_owned(), bytes: 1 }],
            }),
            statistics: SnapshotStatistics { stored_bytes: 5, ..Default::default() },
        };
        let manifest = Manifest {
            version: Manifest::VERSION,
            job: JobId(7),
            checkpoint: CheckpointId(2),
            triggered_ms: 5,
            key_groups: 128,
            statement: "INSERT".to_owned(),
            savepoint: false,
            subtasks: vec![(SubtaskId { vertex: VertexId(1), index: 0 }, snapshot)],
            sinks: vec![],
        };
        let text = serde_json::to_string(&manifest).unwrap();
        assert!(text.contains("00ff"), "{text}");
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
        assert_eq!(manifest.files().collect::<Vec<_>>(), ["file:///c/a", "file:///c/b"]);
        assert!(serde_json::from_str::<Manifest>(&text.replace("00ff", "00é")).is_err());
    }
}
