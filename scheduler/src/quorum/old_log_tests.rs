//! What an earlier build has written into its log is read. A change of [`Command`] that breaks this breaks every quorum at its upgrade.

use std::sync::Arc;

use bytes::Bytes;
use thalweg_graph::{
    CheckpointId, Failure, FailureKind, JobId, JobStatus, Term, WorkerId,
    checkpoint::{AfterBarrier, CompletedCheckpoint},
    exchange::ExchangeKind::Pipelined,
    table::{Committable, SinkOutput},
};

use super::{
    command::{Command, PlannedLater, ScriptRecord},
    encoding,
    state::State,
};
use crate::{
    access::{Role, TokenDigest, TokenRecord},
    clock::Timestamp,
    job_master::SavepointOrder,
    testing::graph,
    view::JobEnd,
};

/// One command a line, in hexadecimal digits, as version 1 wrote them; `THALWEG_UPDATE_OLD_LOG=1` adds what it lacks.
const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/quorum/old_log_v1.hex");

/// One of each, as a job's life has them.
fn commands() -> Vec<Command> {
    let job = JobId(7);
    let mut graph = graph(7, &[2, 1], &[(0, 1, Pipelined)], &[("execution.checkpointing.num-retained", "2")]);
    // Not that of the build, which the file would follow.
    "0.1.0-test".clone_into(&mut graph.build_id);
    let sinks = vec![SinkOutput {
        sink: Box::new(crate::testing::sink()),
        committables: vec![Committable(Bytes::from_static(b"\x00part"))],
    }];
    let (name, statement) = ("nightly".to_owned(), "INSERT INTO t SELECT 1".to_owned());
    let jobs = vec![PlannedLater { job, name, statement, line: 3, is_query: false }];
    let options = [("parallelism.default", "2")].into_iter().collect();
    let script = Box::new(ScriptRecord { text: "INSERT".to_owned(), name: None, options });
    let failure = Some(Failure::new(FailureKind::Io, "the disk is gone"));
    let completed = CompletedCheckpoint {
        checkpoint: CheckpointId(4),
        manifest: "file:///c/chk-4/_metadata".to_owned(),
        savepoint: false,
    };
    let saved = CompletedCheckpoint {
        checkpoint: CheckpointId(5),
        manifest: "file:///s/savepoint-b/_metadata".to_owned(),
        savepoint: true,
    };
    let mut next = graph.clone();
    next.job = JobId(8);
    let mut wider = next.clone();
    wider.vertices[0].parallelism = 3;
    wider.vertices[0].fragment.partitions = 3;
    let order = |trigger: &str, then| SavepointOrder {
        trigger: trigger.to_owned(),
        folder: Some(format!("file:///s/savepoint-{trigger}")),
        then,
    };
    let end = JobEnd { status: JobStatus::Failed, failure: failure.clone() };
    vec![
        Command::Lead { member: 2 },
        Command::WorkerCame { worker: WorkerId("w:1-a".to_owned()) },
        Command::AcceptScript { key: Some(("k".to_owned(), u64::MAX)), script, jobs, at: Timestamp(1) },
        Command::SubmitJob { graph: Arc::new(graph), at: Timestamp(2) },
        Command::RestartJob { job, generation: 3 },
        Command::CompleteCheckpoint { job, completed, sinks: sinks.clone(), trigger: None },
        Command::CheckpointVisible { job, checkpoint: CheckpointId(4) },
        Command::CancelJob { job },
        Command::DecideCommit { job, sinks },
        Command::DecideEnd { job, status: JobStatus::Failed, failure },
        Command::EndJob { job, end, at: Timestamp(3), ended_max: 10 },
        Command::WorkerLeft { worker: WorkerId("w:1-a".to_owned()) },
        Command::SubmitJob { graph: Arc::new(next), at: Timestamp(4) },
        Command::OrderSavepoint { job: JobId(8), order: order("a", AfterBarrier::GoOn) },
        Command::OrderSavepoint { job: JobId(8), order: order("b", AfterBarrier::Drain) },
        Command::RefuseSavepoint {
            job: JobId(8),
            trigger: "a".to_owned(),
            why: "the disk is full".to_owned(),
        },
        Command::CompleteCheckpoint {
            job: JobId(8),
            completed: saved,
            sinks: Vec::new(),
            trigger: Some("b".to_owned()),
        },
        Command::CreateToken {
            token: TokenRecord {
                name: "ci".to_owned(),
                digest: TokenDigest::of("thalweg_00"),
                role: Role::Submit,
                created: Timestamp(5),
                expires: Some(Timestamp(6)),
                by: "loopback".to_owned(),
            },
        },
        Command::RevokeToken { name: "ci".to_owned() },
        Command::RescaleJob { graph: Arc::new(wider) },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn the_log_of_an_earlier_build_is_read() {
    let expected = commands();
    let mut kept: Vec<String> =
        std::fs::read_to_string(VERSION_1).unwrap_or_default().lines().map(str::to_owned).collect();
    if std::env::var_os("THALWEG_UPDATE_OLD_LOG").is_some() {
        // What is there stays: it is what members have on their disks.
        kept.extend(expected[kept.len()..].iter().map(|command| hex(&encoding::encode(command).unwrap())));
        std::fs::write(VERSION_1, kept.join("\n") + "\n").unwrap();
    }
    assert_eq!(kept.len(), expected.len(), "set THALWEG_UPDATE_OLD_LOG=1 and run this test");
    let mut state = State::default();
    for (line, expected) in kept.iter().zip(expected) {
        let command: Command = encoding::decode(&bytes(line)).unwrap();
        assert_eq!(command, expected);
        state.apply(command, Term(1)).unwrap();
    }
    let record = state.job(JobId(7)).unwrap();
    assert_eq!((record.status(), record.generation), (JobStatus::Failed, 3));
    let savepoints = &state.job(JobId(8)).unwrap().savepoints;
    let outcomes: Vec<_> = savepoints.values().map(|savepoint| savepoint.outcome.clone().unwrap()).collect();
    assert_eq!(outcomes, [Err("the disk is full".to_owned()), Ok("file:///s/savepoint-b".to_owned())]);
}
