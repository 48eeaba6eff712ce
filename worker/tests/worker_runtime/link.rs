//! The session with the leader: what a worker does when it is refused, told to stop, or left alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use thalweg_graph::{
    BUILD_ID, FailureKind, TaskState, Term, VertexOutput,
    exchange::{ExchangeKind, Partitioning, ResultPartitionId},
};
use thalweg_rpc::{
    Registration, Session, TaskUpdate, ToLeader, ToWorker, Trust,
    handshake::{self, Purpose},
};
use thalweg_worker::{Error, LeaderLink, Worker, WorkerConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::{
    leader::{TERM, TestWorker, Wired as _, attempt, config, connectors, knowing, task, welcome},
    plans::{EDGE, fragment, plan},
};

#[tokio::test]
async fn a_refused_worker_stops_with_the_reason() {
    let tmp = tempfile::tempdir().unwrap();
    let (theirs, mut session): (Session<ToLeader, ToWorker>, _) = Session::pair();
    let link = LeaderLink::InProcess(theirs);
    let mut worker = Worker::start(config("refused", tmp.path()), connectors(), link).await.unwrap();
    let Some(ToLeader::Register(registration)) = session.receiver.recv().await else {
        panic!("expected a registration");
    };
    assert_eq!((registration.build_id.as_str(), registration.slots), (BUILD_ID, 2));
    session.sender.send(ToWorker::Refused { reason: "another build".to_owned() }).await.unwrap();
    let error = worker.stopped().await.unwrap_err();
    assert!(matches!(&error, Error::Refused { reason } if reason == "another build"), "{error}");
    assert_eq!(std::fs::read_dir(tmp.path()).unwrap().count(), 0, "its folder is gone");
}

#[tokio::test]
async fn a_worker_told_to_stop_does() {
    let mut worker = TestWorker::start("stopping").await;
    worker.order(ToWorker::Stop { reason: "maintenance".to_owned() }).await;
    assert_eq!(worker.worker.stopped().await.unwrap(), "maintenance");
}

#[tokio::test]
async fn orders_of_a_replaced_leader_are_refused() {
    let mut worker = TestWorker::start("fenced").await;
    let fragment = fragment(&plan("SELECT value AS v FROM generate_series(1, 10)", 1, None).await);
    let tasks = |index| vec![Arc::new(task(attempt(0, index), &fragment, 4))];
    worker.order(ToWorker::Deploy { term: Term(TERM.0 + 1), tasks: tasks(0) }).await;
    worker.order(ToWorker::Deploy { term: TERM, tasks: tasks(0) }).await;
    worker.order(ToWorker::Cancel { term: TERM, attempt: attempt(9, 9) }).await;
    worker.order(ToWorker::Cancel { term: Term(TERM.0 + 1), attempt: attempt(8, 8) }).await;
    // Orders are carried out in turn, so the answer to the old leader's cancel would have come first.
    assert_eq!(worker.end_of(attempt(8, 8)).await, TaskUpdate::Canceled);
    assert!(!worker.has_ended(attempt(9, 9)));
    worker.finished(attempt(0, 0)).await;
}

#[tokio::test]
async fn a_worker_that_cannot_bind_says_which_port() {
    let tmp = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config("bound", tmp.path());
    config.data_port = taken.local_addr().unwrap().port();
    let (theirs, _session) = Session::pair();
    let error = Worker::start(config, connectors(), LeaderLink::InProcess(theirs)).await.err().unwrap();
    assert!(error.to_string().contains(&taken.local_addr().unwrap().to_string()), "{error}");
}

/// Takes the next worker session at a control port, as far as its registration.
async fn accept(control: &TcpListener) -> (Session<ToWorker, ToLeader>, Registration) {
    let (mut stream, _) = control.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: thalweg-worker/1\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut session = Session::<ToWorker, ToLeader>::over(stream);
    match session.receiver.recv().await {
        Some(ToLeader::Register(registration)) => (session, registration),
        other => panic!("expected a registration, got {other:?}"),
    }
}

/// The next reports of tasks' ends, by vertex.
async fn ends(session: &mut Session<ToWorker, ToLeader>, count: usize) -> Vec<(u32, TaskUpdate)> {
    let mut ends = Vec::new();
    while ends.len() < count {
        match session.receiver.recv().await.expect("the session lasts") {
            ToLeader::Task { attempt, update } if update != TaskUpdate::Running => {
                ends.push((attempt.subtask.vertex.0, update));
            }
            _ => {}
        }
    }
    ends.sort_by_key(|(vertex, _)| *vertex);
    ends
}

#[tokio::test]
async fn a_worker_finds_its_leader_again_and_tells_what_it_runs_and_holds() {
    let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tmp = tempfile::tempdir().unwrap();
    let address = control.local_addr().unwrap().to_string();
    let link = LeaderLink::Remote { addresses: vec![address] };
    let config = WorkerConfig { trust: Trust::default(), ..config("faithful", tmp.path()) };
    let starting = Worker::start(config, connectors(), link);
    let (worker, (mut first, registration)) = tokio::join!(starting, accept(&control));
    let mut worker = worker.unwrap();
    assert_eq!((registration.running.len(), registration.partitions.len()), (0, 0));

    first.sender.send(welcome()).await.unwrap();
    let few = fragment(&plan("SELECT value AS v FROM generate_series(1, 10)", 1, None).await);
    let endless = "SELECT max(value) AS v FROM generate_series(1, 1000000000000)";
    let mut running = task(attempt(2, 0), &fragment(&plan(endless, 1, None).await), 1);
    running.output = Arc::new(VertexOutput::Edges);
    let tasks = [
        task(attempt(0, 0), &few, 1).writing(EDGE, ExchangeKind::Blocking, &Partitioning::Single, 1),
        task(attempt(1, 0), &few, 1),
        running,
    ];
    let tasks = tasks.into_iter().map(Arc::new).collect();
    first.sender.send(ToWorker::Deploy { term: TERM, tasks }).await.unwrap();
    ends(&mut first, 2).await;
    drop(first);

    let (second, registration) = accept(&control).await;
    let [task] = registration.running.as_slice() else { panic!("{:?}", registration.running) };
    assert_eq!((task.attempt, task.state), (attempt(2, 0), TaskState::Running));
    assert_eq!(registration.partitions, [ResultPartitionId { producer: attempt(0, 0), edge: EDGE }]);
    let mut told = registration.ended;
    told.sort_by_key(|(attempt, _)| attempt.subtask);
    assert_eq!(told.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [attempt(0, 0), attempt(1, 0)]);
    assert!(matches!(&told[0].1, TaskUpdate::Finished { .. }), "{told:?}");
    // Rows that went through the first session may not have arrived.
    let TaskUpdate::Failed { failure, .. } = &told[1].1 else { panic!("{told:?}") };
    assert_eq!(failure.kind, FailureKind::Io);
    second.sender.send(welcome()).await.unwrap();

    second.sender.send(ToWorker::Stop { reason: "done".to_owned() }).await.unwrap();
    assert_eq!(worker.stopped().await.unwrap(), "done");
}

#[tokio::test]
async fn a_worker_with_another_secret_asks_again_and_not_without_pause() {
    let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tmp = tempfile::tempdir().unwrap();
    let link = LeaderLink::Remote { addresses: vec![control.local_addr().unwrap().to_string()] };
    let worker = Worker::start(config("stranger", tmp.path()), connectors(), link).await.unwrap();
    let theirs = knowing("another secret than theirs");
    let mut asked = Vec::new();
    for _ in 0..2 {
        let (mut stream, _) = control.accept().await.unwrap();
        asked.push(Instant::now());
        let refused = handshake::accept(&mut stream, Purpose::Control, theirs.secret.as_ref(), None).await;
        assert!(matches!(refused, Err(handshake::Error::WrongSecret)), "{refused:?}");
    }
    let pause = asked[1] - asked[0];
    assert!(pause > Duration::from_secs(2), "{pause:?}");
    drop(worker);
}
