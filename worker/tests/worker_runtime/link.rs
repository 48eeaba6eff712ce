//! The session with the leader: what a worker does when it is refused, told to stop, or left alone.

use std::sync::Arc;

use thalweg_graph::{BUILD_ID, Term};
use thalweg_rpc::{Session, TaskUpdate, ToLeader, ToWorker};
use thalweg_worker::{Error, LeaderLink, Worker};

use crate::{
    leader::{TERM, TestWorker, attempt, config, connectors, task},
    plans::{fragment, plan},
};

#[tokio::test]
async fn a_refused_worker_stops_with_the_reason() {
    let tmp = tempfile::tempdir().unwrap();
    let (theirs, mut session): (Session<ToLeader, ToWorker>, _) = Session::pair();
    let link = LeaderLink::InProcess(theirs);
    let worker = Worker::start(config("refused", tmp.path()), connectors(), link).await.unwrap();
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
    let worker = TestWorker::start("stopping").await;
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
