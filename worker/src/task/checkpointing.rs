//! A task's part in checkpoints: what it keeps at a barrier is stored beside the rows that go on, then the leader is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use thalweg_connectors::sink::Prepared;
use thalweg_graph::{
    Attempt, CheckpointId, Failure, FailureKind,
    checkpoint::{Barrier, SnapshotStatistics, SourceState, SubtaskSnapshot},
    table::Committable,
};
use thalweg_rpc::ToLeader;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

use crate::{
    leader::Leader,
    state::{Snapshot, store::SnapshotStore},
};

/// What a task gives at a barrier, while it stands still.
pub struct SyncPart {
    /// The barrier.
    pub barrier: Barrier,
    /// Where its source is.
    pub source: Option<SourceState>,
    /// Its operators' state, by their names.
    pub states: Vec<(String, Snapshot)>,
    /// What its sink leaves.
    pub prepared: Prepared,
    /// How long it has waited for the last barrier.
    pub alignment: Duration,
    /// How long it stood still.
    pub sync_time: Duration,
}

/// How one task takes part in checkpoints.
pub struct Checkpointing {
    attempt: Attempt,
    leader: Arc<Leader>,
    store: Arc<Mutex<SnapshotStore>>,
    storing: Option<JoinHandle<()>>,
    /// Where the source was at checkpoints that the leader has not called complete yet.
    sources: BTreeMap<CheckpointId, SourceState>,
    /// What the sink has prepared for such checkpoints: told again with every later one.
    prepared: BTreeMap<CheckpointId, Vec<Committable>>,
    /// Checkpoints that the leader calls complete.
    completed: mpsc::Receiver<CheckpointId>,
    /// What the task leaves when it is over.
    last: Arc<OnceLock<SubtaskSnapshot>>,
}

impl Checkpointing {
    /// The part of one attempt; `last` is set when it is over.
    pub fn new(
        attempt: Attempt,
        leader: Arc<Leader>,
        store: SnapshotStore,
        completed: mpsc::Receiver<CheckpointId>,
        last: Arc<OnceLock<SubtaskSnapshot>>,
    ) -> Self {
        let (store, sources, prepared) = (Arc::new(Mutex::new(store)), BTreeMap::new(), BTreeMap::new());
        Self { attempt, leader, store, storing: None, sources, prepared, completed, last }
    }

    /// Whose part it is.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// Stores what was kept and tells the leader, while the task goes on. Waits only for an older checkpoint that is still being stored.
    pub async fn store(&mut self, part: SyncPart) {
        self.stored().await;
        if let Some(source) = &part.source {
            self.sources.insert(part.barrier.checkpoint, source.clone());
        }
        let earlier = self.earlier();
        if let Some(committable) = &part.prepared.committable {
            self.prepared.entry(part.barrier.checkpoint).or_default().push(committable.clone());
        }
        let (attempt, leader, store) = (self.attempt, Arc::clone(&self.leader), Arc::clone(&self.store));
        self.storing = Some(tokio::spawn(async move {
            let checkpoint = part.barrier.checkpoint;
            let snapshot = stored(part, earlier, &mut *store.lock().await).await;
            leader.tell(ToLeader::Snapshot { attempt, checkpoint, snapshot: snapshot.map(Box::new) }).await;
        }));
    }

    fn earlier(&self) -> Vec<(CheckpointId, Vec<Committable>)> {
        self.prepared.iter().map(|(checkpoint, prepared)| (*checkpoint, prepared.clone())).collect()
    }

    /// Waits until what was kept last is stored.
    pub async fn stored(&mut self) {
        if let Some(storing) = self.storing.take() {
            // If it panicked, the leader waits for the answer in vain and gives the checkpoint up.
            let _ = storing.await;
        }
    }

    /// The next checkpoint that is complete, as where the source was at it. What the sink had prepared up to it is visible.
    pub async fn completed(&mut self) -> SourceState {
        loop {
            let Some(checkpoint) = self.completed.recv().await else { return std::future::pending().await };
            self.prepared = self.prepared.split_off(&CheckpointId(checkpoint.0 + 1));
            let newer = self.sources.split_off(&CheckpointId(checkpoint.0 + 1));
            let mut upto = std::mem::replace(&mut self.sources, newer);
            if let Some(source) = upto.remove(&checkpoint) {
                return source;
            }
        }
    }

    /// The task is over: its source has come this far, and these of its operators have said all that they had to say.
    pub fn finish(&self, source: Option<SourceState>, finished: BTreeSet<String>) {
        let earlier = self.earlier();
        let _ = self.last.set(SubtaskSnapshot { source, finished, earlier, ..SubtaskSnapshot::default() });
    }
}

impl Drop for Checkpointing {
    fn drop(&mut self) {
        // A task that is stopped has no more checkpoints: what takes its place is not to wait for the processor.
        if let Some(storing) = self.storing.take() {
            storing.abort();
        }
    }
}

async fn stored(
    part: SyncPart,
    earlier: Vec<(CheckpointId, Vec<Committable>)>,
    store: &mut SnapshotStore,
) -> Result<SubtaskSnapshot, Failure> {
    let start = Instant::now();
    let SyncPart { barrier, source, states, prepared, alignment, sync_time } = part;
    let storing = store.store(barrier.checkpoint, barrier.savepoint.as_deref(), states);
    let (operators, bytes) = storing.await.map_err(|error| {
        let why = crate::exchange::partition_store::chain(&error);
        Failure::new(FailureKind::Io, format!("checkpoint {} could not be stored: {why}", barrier.checkpoint))
    })?;
    let ms = |time: Duration| time.as_millis() as u64;
    let statistics = SnapshotStatistics {
        alignment_ms: ms(alignment),
        sync_ms: ms(sync_time),
        async_ms: ms(start.elapsed()),
        state_bytes: bytes.all,
        stored_bytes: bytes.stored,
    };
    let Prepared { committable, state: sink } = prepared;
    let committables = committable.into_iter().collect();
    let finished = BTreeSet::new();
    Ok(SubtaskSnapshot { source, operators, committables, earlier, finished, sink, statistics })
}
