//! Jobs that have ended under one JobManager, looked at through another.

use std::sync::Arc;

use serde_json::{Value, json};
use thalweg_graph::{FailureKind, JobId, JobStatus, exchange::ExchangeKind};

use super::{fakes::FakeWorker, server::Server};
use crate::{
    History,
    history::testing::HistoryInMemory,
    rest::routes::{Answer, ROUTES},
    testing::graph,
};

/// What is asked of a job and is about the process that answers.
const OF_THE_JOB_MANAGER: [&str; 2] = ["jobmanager/config", "jobmanager/environment"];

/// Runs two jobs, of which the second fails.
async fn run(server: &Server) -> [JobId; 2] {
    let mut worker = FakeWorker::attach(&server.manager, "a", 2).await;
    let dispatcher = server.manager.dispatcher();
    let edges = [(0, 1, ExchangeKind::Pipelined)];
    let finished = dispatcher.submit(graph(7, &[1, 1], &edges, &[])).await.unwrap();
    for attempt in worker.deployed().await {
        worker.finish(attempt).await;
    }
    assert_eq!(dispatcher.wait(finished).await.unwrap().status, JobStatus::Finished);
    let failed = dispatcher.submit(graph(8, &[1], &[], &[("pipeline.name", "x")])).await.unwrap();
    let attempt = worker.deployed().await[0];
    worker.fail(attempt, FailureKind::Deterministic).await;
    assert_eq!(dispatcher.wait(failed).await.unwrap().status, JobStatus::Failed);
    [finished, failed]
}

/// Every answer about these jobs that needs no further number.
async fn answers(server: &Server, jobs: [JobId; 2]) -> Vec<(String, u16, Value)> {
    let mut answers = Vec::new();
    let vertex = format!("{:032x}", 1);
    for route in ROUTES.iter().filter(|route| route.method == "get" && route.media == "application/json") {
        let asks = matches!(route.answer, Answer::By(_)) && route.path.starts_with("/jobs/{jobid}");
        if !asks || OF_THE_JOB_MANAGER.iter().any(|of| route.path.ends_with(of)) {
            continue;
        }
        for job in jobs {
            let path = route.path.replace("{jobid}", &job.to_string()).replace("{vertexid}", &vertex);
            let path = path.replace("{subtaskindex}", "0").replace("{attempt}", "0");
            if !path.contains('{') {
                let (status, answer) = server.get(&path).await;
                answers.push((path, status, without_now(answer)));
            }
        }
    }
    answers
}

/// An answer without the time at which it was given.
fn without_now(mut answer: Value) -> Value {
    if let Some(fields) = answer.as_object_mut() {
        for of_the_answer in ["now", "end-timestamp"] {
            fields.remove(of_the_answer);
        }
    }
    answer
}

#[tokio::test]
async fn jobs_that_have_ended_are_shown_as_before_by_the_next_cluster() {
    let storage = Arc::new(HistoryInMemory::default());
    let server = Server::with_history(History::open(storage.clone(), 100), &[]).await;
    let jobs = run(&server).await;
    let before = answers(&server, jobs).await;
    assert!(before.len() > 40, "{} answers", before.len());
    let (_, list_before) = server.get("/jobs/overview").await;
    server.manager.stop().await;

    let server = Server::with_history(History::open(storage, 100), &[]).await;
    for (before, after) in before.into_iter().zip(answers(&server, jobs).await) {
        assert_eq!(before, after);
    }
    let (_, list) = server.get("/jobs/overview").await;
    assert_eq!(list, list_before);
    let (status, unknown) = server.get(&format!("/jobs/{}", JobId(9))).await;
    assert_eq!((status, &unknown["code"]), (404, &json!("unknown-job")));
}

#[tokio::test]
async fn jobs_that_memory_has_no_place_for_are_shown_too() {
    let storage = Arc::new(HistoryInMemory::default());
    let small = [("jobstore.max-capacity", "1")];
    let server = Server::with_history(History::open(storage, 100), &small).await;
    let jobs = run(&server).await;
    let path = format!("/jobs/{}", jobs[0]);
    let (status, job) = server.get(&path).await;
    assert_eq!((status, &job["state"]), (200, &json!("FINISHED")), "{job}");
}

#[tokio::test]
async fn a_history_that_cannot_be_read_is_no_reason_to_say_that_there_is_no_job() {
    let storage = Arc::new(HistoryInMemory::default());
    let server = Server::with_history(History::open(storage.clone(), 100), &[]).await;
    *storage.failing.lock() = true;
    let (status, answer) = server.get(&format!("/jobs/{}", JobId(9))).await;
    assert_eq!((status, &answer["code"]), (503, &json!("history-unreadable")), "{answer}");
    assert!(answer["errors"][0].as_str().unwrap().contains("the disk is away"), "{answer}");
}
