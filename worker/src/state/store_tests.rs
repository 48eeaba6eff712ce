//! What an operator has not in memory any more is stored once, comes along with every checkpoint after that, and with savepoints.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray as _, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use datafusion::error::DataFusionError;
use thalweg_connectors::{BuiltinConnectors, ConnectorsConfig};
use thalweg_graph::{
    Attempt, CheckpointId, JobId, SubtaskId, VertexId,
    checkpoint::{Manifest, OperatorState, SubtaskSnapshot},
};

use super::{
    ChunkId, Restored, Snapshot, StateChunk, StoredRows,
    key_group::KeyGroup,
    store::{Error, SnapshotStore, StoredBytes},
};

const GROUPS: Range<KeyGroup> = 0..128;

fn chunk(values: &[i64]) -> Arc<StateChunk> {
    let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    let rows = RecordBatch::try_from_iter_with_nullable([("v", column, true)]).unwrap();
    StateChunk::new(0, rows, values.iter().map(|value| *value as u16).collect())
}

/// Rows that are read when they are stored.
struct OnDisk(ChunkId, Vec<Vec<i64>>);

impl StoredRows for OnDisk {
    fn id(&self) -> ChunkId {
        self.0
    }

    fn chunks(&self) -> Box<dyn Iterator<Item = Result<Arc<StateChunk>, DataFusionError>> + Send + '_> {
        Box::new(self.1.iter().map(|values| Ok(chunk(values))))
    }
}

struct Job {
    store: SnapshotStore,
    folder: tempfile::TempDir,
}

impl Job {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Self::store(&folder);
        Self { store, folder }
    }

    fn store(folder: &tempfile::TempDir) -> SnapshotStore {
        let connectors = BuiltinConnectors::new(ConnectorsConfig::default()).unwrap();
        let subtask = SubtaskId { vertex: VertexId(0), index: 0 };
        let attempt = Attempt { job: JobId(1), subtask, number: 0 };
        let url = format!("file://{}/job", folder.path().display());
        SnapshotStore::new(Arc::clone(connectors.file_systems()), url, attempt)
    }

    async fn checkpoint(
        &mut self,
        id: u64,
        snapshot: Snapshot,
    ) -> Result<(Vec<OperatorState>, StoredBytes), Error> {
        self.store.store(CheckpointId(id), None, vec![("a".to_owned(), snapshot)]).await
    }

    async fn savepoint(&mut self, id: u64, snapshot: Snapshot) -> Result<Vec<OperatorState>, Error> {
        let folder = format!("file://{}/savepoint{id}", self.folder.path().display());
        let stored = self.store.store(CheckpointId(id), Some(&folder), vec![("a".to_owned(), snapshot)]);
        Ok(stored.await?.0)
    }

    /// The values that come back, in the parts in which they do.
    async fn restored(&self, operators: Vec<OperatorState>) -> Vec<Vec<i64>> {
        let subtask = SubtaskId { vertex: VertexId(0), index: 0 };
        let manifest = Manifest {
            version: Manifest::VERSION,
            job: JobId(1),
            checkpoint: CheckpointId(1),
            triggered_ms: 0,
            key_groups: GROUPS.end,
            statement: String::new(),
            savepoint: false,
            sinks: Vec::new(),
            subtasks: vec![(subtask, SubtaskSnapshot { operators, ..SubtaskSnapshot::default() })],
        };
        let uids = BTreeSet::from(["a".to_owned()]);
        let mut parts = Vec::new();
        let take = |_: &str, part: Restored| {
            for chunk in part.chunks {
                parts.push(chunk.rows.column(0).as_primitive::<Int64Type>().values().to_vec());
            }
            Ok(())
        };
        Self::store(&self.folder).restore(&manifest, &GROUPS, &uids, &uids, take).await.unwrap();
        parts
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_once_comes_along() {
    let mut job = Job::new();
    let (first, second) = (chunk(&[1, 2]), chunk(&[3]));
    let snapshot = Snapshot { chunks: vec![Arc::clone(&first)], ..Snapshot::default() };
    let operators = job.savepoint(1, snapshot).await.unwrap();
    assert_eq!(job.restored(operators).await, [[1, 2]]);

    // The savepoint is the user's: the next checkpoint has a copy of its own.
    let snapshot =
        Snapshot { kept: vec![first.id()], chunks: vec![Arc::clone(&second)], ..Snapshot::default() };
    let (operators, bytes) = job.checkpoint(2, snapshot).await.unwrap();
    assert_eq!(bytes.all, bytes.stored);
    assert_eq!(job.restored(operators).await, [vec![1, 2], vec![3]]);

    let snapshot = Snapshot { kept: vec![first.id(), second.id()], ..Snapshot::default() };
    let (operators, again) = job.checkpoint(3, snapshot).await.unwrap();
    assert_eq!((again.all, again.stored), (bytes.all, 0));
    assert_eq!(job.restored(operators).await, [vec![1, 2], vec![3]]);

    let all = Arc::new(OnDisk(ChunkId::next(), vec![vec![4, 5], vec![6]]));
    let snapshot = Snapshot { on_disk: vec![all.clone()], ..Snapshot::default() };
    job.checkpoint(4, snapshot).await.unwrap();
    let snapshot = Snapshot { kept: vec![all.id()], ..Snapshot::default() };
    let operators = job.savepoint(5, snapshot).await.unwrap();
    std::fs::remove_dir_all(job.folder.path().join("job")).unwrap();
    assert_eq!(job.restored(operators).await, [vec![4, 5], vec![6]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_stored_is_stored_with_the_next_checkpoint() {
    let mut job = Job::new();
    let in_the_way = job.folder.path().join("job");
    std::fs::write(&in_the_way, "a file where a folder is to be").unwrap();
    let first = chunk(&[1, 2]);
    let snapshot = Snapshot { chunks: vec![Arc::clone(&first)], ..Snapshot::default() };
    assert!(job.checkpoint(1, snapshot).await.is_err());
    std::fs::remove_file(in_the_way).unwrap();
    let snapshot = Snapshot { kept: vec![first.id()], ..Snapshot::default() };
    let (operators, _) = job.checkpoint(2, snapshot).await.unwrap();
    assert_eq!(job.restored(operators).await, [[1, 2]]);

    let snapshot = Snapshot { kept: vec![ChunkId::next()], ..Snapshot::default() };
    assert!(matches!(job.checkpoint(3, snapshot).await, Err(Error::Lost { .. })));
}
