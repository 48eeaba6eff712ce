//! The session between JobManager and worker.

use std::{fmt::Debug, sync::Arc, time::Duration};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use serde::{Serialize, de::DeserializeOwned};
use thalweg_graph::{
    Attempt, BUILD_ID, EdgeId, Failure, FailureKind, Fragment, JobEpoch, JobId, Options, RuntimeMode,
    SubtaskId, TaskDescriptor, TaskMetrics, TaskReport, TaskState, Term, VertexId, VertexOutput, WorkerId,
    exchange::{ExchangeKind, Partitioning, ResultPartitionDescriptor, ResultPartitionId},
    task::{CheckpointFolder, SplitProgress},
};
use thalweg_rpc::{Registration, RunningTask, Session, TaskUpdate, ToLeader, ToWorker};
use tokio::io::AsyncWriteExt as _;

use super::{changed, changes};

/// Time for a session to end: more is a hang.
const PATIENCE: Duration = Duration::from_secs(20);

fn attempt() -> Attempt {
    Attempt { job: JobId(7), subtask: SubtaskId { vertex: VertexId(1), index: 2 }, number: 300 }
}

fn partition() -> ResultPartitionId {
    ResultPartitionId { producer: attempt(), edge: EdgeId(4) }
}

fn to_leader() -> Vec<ToLeader> {
    let registration = Registration {
        worker: WorkerId("worker-1".to_owned()),
        host: "host".to_owned(),
        data_address: "host:4711".to_owned(),
        slots: 4,
        memory_bytes: 1 << 30,
        build_id: BUILD_ID.to_owned(),
        pid: 4_711,
        running: vec![RunningTask {
            attempt: attempt(),
            epoch: JobEpoch(1),
            state: TaskState::Running,
            slot: 3,
            barrier: None,
        }],
        ended: Vec::new(),
        partitions: vec![partition()],
    };
    let splits = vec![SplitProgress { split: "a.csv".to_owned(), watermark_ms: Some(-1), is_idle: false }];
    let report = TaskReport { attempt: attempt(), metrics: TaskMetrics::default(), splits };
    let failure = Failure::new(FailureKind::FetchFailed { edge: EdgeId(1), producer: attempt() }, "why");
    let failed = TaskUpdate::Failed { failure, metrics: TaskMetrics::default() };
    vec![
        ToLeader::Register(registration),
        ToLeader::Heartbeat { tasks: vec![report], memory_used_bytes: 5 },
        ToLeader::Task { attempt: attempt(), update: failed },
        ToLeader::ResultChunk { attempt: attempt(), bytes: Bytes::from_static(b"rows") },
        ToLeader::Goodbye { reason: "told to".to_owned() },
    ]
}

fn to_worker() -> Vec<ToWorker> {
    let task = TaskDescriptor {
        attempt: attempt(),
        epoch: JobEpoch(1),
        slot: 3,
        name: "Filter".to_owned(),
        build_id: BUILD_ID.to_owned(),
        parallelism: 4,
        fragment: Arc::new(Fragment {
            mode: RuntimeMode::Batch,
            plan: Bytes::from_static(b"plan"),
            display: "Filter".to_owned(),
            partitions: 4,
        }),
        splits: Vec::new(),
        inputs: Vec::new(),
        outputs: vec![ResultPartitionDescriptor {
            id: partition(),
            partitioning: Partitioning::Broadcast,
            kind: ExchangeKind::Blocking,
            subpartitions: 4,
        }],
        output: Arc::new(VertexOutput::Edges),
        spills_joins: false,
        options: Arc::new([("a", "b")].into_iter().collect::<Options>()),
        checkpoints: Some(CheckpointFolder { folder: "file:///c".to_owned(), restored: None }),
    };
    vec![
        ToWorker::Deploy { term: Term(3), tasks: vec![Arc::new(task)] },
        ToWorker::Heartbeat,
        ToWorker::ReleasePartitions { term: Term(3), partitions: vec![partition()] },
        ToWorker::Stop { reason: "over".to_owned() },
    ]
}

/// A message as it stands on the wire: its length, then itself.
fn framed<M: Serialize>(message: &M) -> Vec<u8> {
    let encoded = postcard::to_stdvec(message).unwrap();
    [&(encoded.len() as u32).to_be_bytes()[..], &encoded].concat()
}

/// Gives a session bytes and their end, and reads what it makes of them until it ends.
async fn drain<In: DeserializeOwned + Send + 'static>(bytes: Vec<u8>) -> usize {
    let (mut other, here) = tokio::io::duplex(256);
    let mut session = Session::<ToLeader, In>::over(here);
    let writing = tokio::spawn(async move {
        // The session may have heard enough before all is written.
        let _ = other.write_all(&bytes).await;
    });
    let mut messages = 0;
    while session.receiver.recv().await.is_some() {
        messages += 1;
    }
    writing.await.unwrap();
    messages
}

fn drain_in_time<In: DeserializeOwned + Send + 'static>(bytes: Vec<u8>) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let drained = runtime.block_on(async { tokio::time::timeout(PATIENCE, drain::<In>(bytes)).await });
    drained.expect("the session ends")
}

/// What is decoded from anything is a message like any other.
fn check_decoded<M: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(message) = postcard::from_bytes::<M>(bytes) {
        let again = postcard::to_stdvec(&message).unwrap();
        assert_eq!(postcard::from_bytes::<M>(&again).unwrap(), message);
    }
}

proptest! {
    #[test]
    fn changed_messages_to_the_job_manager_are_taken_or_end_the_session(
        which in vec(0..to_leader().len(), 1..8), changes in changes()
    ) {
        let messages = to_leader();
        let bytes: Vec<u8> = which.iter().flat_map(|which| framed(&messages[*which])).collect();
        let bytes = changed(&bytes, &changes);
        let length = bytes.len();
        prop_assert!(drain_in_time::<ToLeader>(bytes) <= length / 5);
    }

    #[test]
    fn changed_messages_to_a_worker_are_taken_or_end_the_session(
        which in vec(0..to_worker().len(), 1..8), changes in changes()
    ) {
        let messages = to_worker();
        let bytes: Vec<u8> = which.iter().flat_map(|which| framed(&messages[*which])).collect();
        let bytes = changed(&bytes, &changes);
        let length = bytes.len();
        prop_assert!(drain_in_time::<ToWorker>(bytes) <= length / 5);
    }

    #[test]
    fn random_bytes_are_a_message_or_none(bytes in vec(any::<u8>(), 0..500)) {
        check_decoded::<ToLeader>(&bytes);
        check_decoded::<ToWorker>(&bytes);
    }

    #[test]
    fn changed_bytes_are_a_message_or_none(
        leader in 0..to_leader().len(), worker in 0..to_worker().len(), changes in changes()
    ) {
        let (leader, worker) = (&to_leader()[leader], &to_worker()[worker]);
        check_decoded::<ToLeader>(&changed(&postcard::to_stdvec(leader).unwrap(), &changes));
        check_decoded::<ToWorker>(&changed(&postcard::to_stdvec(worker).unwrap(), &changes));
    }
}

#[test]
fn messages_arrive_where_nothing_was_changed() {
    let bytes: Vec<u8> = to_leader().iter().flat_map(framed).collect();
    assert_eq!(drain_in_time::<ToLeader>(bytes), to_leader().len());
    let bytes: Vec<u8> = to_worker().iter().flat_map(framed).collect();
    assert_eq!(drain_in_time::<ToWorker>(bytes), to_worker().len());
}
