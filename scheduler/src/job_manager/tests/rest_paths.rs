//! What the answers say, where the shape alone does not tell.

use std::io::Write as _;

use http::Method;
use serde_json::{Value, json};
use thalweg_graph::{
    CheckpointId, FailureKind, JobId, JobStatus, checkpoint::Manifest, exchange::ExchangeKind,
};

use super::{fakes::FakeWorker, server::Server};
use crate::testing::{graph, query};

fn vertex(position: u32) -> String {
    format!("{:032x}", position + 1)
}

fn manifest() -> Manifest {
    Manifest {
        version: Manifest::VERSION,
        job: JobId(1),
        checkpoint: CheckpointId(3),
        triggered_ms: 0,
        key_groups: 128,
        statement: String::new(),
        savepoint: true,
        subtasks: Vec::new(),
        sinks: Vec::new(),
    }
}

/// A job of two vertices, one subtask on each of two workers.
async fn running(server: &Server) -> (String, FakeWorker, FakeWorker) {
    let mut one = FakeWorker::attach(&server.manager, "a", 1).await;
    let mut two = FakeWorker::attach(&server.manager, "b", 1).await;
    let edges = [(0, 1, ExchangeKind::Pipelined)];
    let job = server.manager.dispatcher().submit(graph(7, &[2, 2], &edges, &[])).await.unwrap();
    for worker in [&mut one, &mut two] {
        let attempts = worker.deployed().await;
        worker.update(attempts[0], thalweg_rpc::TaskUpdate::Running).await;
    }
    (job.to_string(), one, two)
}

#[tokio::test]
async fn a_vertex_is_shown_by_worker_and_by_subtask() {
    let server = Server::start().await;
    let (job, ..) = running(&server).await;
    let base = format!("/jobs/{job}/vertices/{}", vertex(0));
    let (_, answer) = server.get(&format!("{base}/taskmanagers")).await;
    let workers: Vec<_> =
        answer["taskmanagers"].as_array().unwrap().iter().map(|w| &w["taskmanager-id"]).collect();
    assert_eq!(workers, ["a", "b"]);
    assert_eq!(answer["taskmanagers"][0]["host"], "a");
    let counts = answer["taskmanagers"][0]["status-counts"].as_object().unwrap();
    assert_eq!(counts.values().filter_map(Value::as_u64).sum::<u64>(), 1, "{counts:?}");

    let (_, subtask) = server.get(&format!("{base}/subtasks/1")).await;
    assert_eq!((&subtask["subtask"], &subtask["attempt"]), (&json!(1), &json!(0)));
    let (_, attempt) = server.get(&format!("{base}/subtasks/1/attempts/0")).await;
    assert_eq!(subtask["taskmanager-id"], attempt["taskmanager-id"]);
    for (path, code) in [
        (format!("{base}/subtasks/2"), "unknown-subtask"),
        (format!("{base}/subtasks/1/attempts/5"), "unknown-attempt"),
        (format!("{base}/subtasks/1/attempts/5/accumulators"), "unknown-attempt"),
        (format!("/jobs/{job}/vertices/{}", vertex(9)), "unknown-vertex"),
    ] {
        let (status, answer) = server.get(&path).await;
        assert_eq!((status, answer["code"].as_str()), (404, Some(code)), "{path}: {answer}");
    }
    let (_, times) = server.get(&format!("{base}/subtasktimes")).await;
    let stamps = times["subtasks"][0]["timestamps"].as_object().unwrap();
    assert_eq!(stamps.keys().collect::<Vec<_>>(), ["DEPLOYING"], "only what is known");
}

#[tokio::test]
async fn measurements_of_several_are_put_together() {
    let server = Server::start().await;
    let _workers = running(&server).await;
    let (_, answer) = server.get("/taskmanagers/metrics?get=slotsTotal&agg=sum,max").await;
    assert_eq!(answer, json!([{ "id": "slotsTotal", "sum": 2.0, "max": 1.0 }]));
    let (_, answer) = server.get("/taskmanagers/metrics?get=slotsTotal&agg=SUM&taskmanagers=b").await;
    assert_eq!(answer, json!([{ "id": "slotsTotal", "sum": 1.0 }]));
    let (_, answer) = server.get("/taskmanagers/metrics").await;
    assert_eq!(answer.as_array().unwrap().len(), 4, "names: {answer}");
    let (_, answer) = server.get("/jobs/metrics?get=numRestarts").await;
    assert_eq!(
        answer,
        json!([{ "id": "numRestarts", "min": 0.0, "max": 0.0, "avg": 0.0, "sum": 0.0, "skew": 0.0 }])
    );
    let (_, answer) = server.get("/taskmanagers/a/metrics?get=slotsTotal").await;
    assert_eq!(answer, json!([{ "id": "slotsTotal", "value": "1" }]));
    let (_, answer) = server.get("/jobmanager/metrics?get=numRunningJobs,taskSlotsAvailable").await;
    assert_eq!(
        answer,
        json!([{ "id": "numRunningJobs", "value": "1" }, { "id": "taskSlotsAvailable", "value": "0" }])
    );
    let (status, answer) = server.get("/taskmanagers/metrics?taskmanagers=c").await;
    assert_eq!((status, answer["code"].as_str()), (404, Some("unknown-worker")));
}

#[tokio::test]
async fn the_end_of_a_job_is_told_as_flinks_client_asks_for_it() {
    let server = Server::start().await;
    let mut worker = FakeWorker::attach(&server.manager, "a", 1).await;
    let dispatcher = server.manager.dispatcher();
    let job = dispatcher.submit(query(7)).await.unwrap();
    let attempt = worker.deployed().await[0];
    let path = format!("/jobs/{job}/execution-result");
    let (_, answer) = server.get(&path).await;
    assert_eq!(answer, json!({ "status": { "id": "IN_PROGRESS" }, "job-execution-result": null }));
    worker.fail(attempt, FailureKind::Deterministic).await;
    assert_eq!(dispatcher.wait(job).await.unwrap().status, JobStatus::Failed);
    let (_, answer) = server.get(&path).await;
    let result = &answer["job-execution-result"];
    assert_eq!(
        (&result["application-status"], &result["failure-cause"]["class"]),
        (&json!("FAILED"), &json!("deterministic"))
    );
    let (_, answer) = server.get(&format!("/jobs/{job}/exceptions?maxExceptions=1")).await;
    assert_eq!(answer["exceptionHistory"]["entries"].as_array().unwrap().len(), 1);
    let (_, answer) = server.get(&format!("/jobs/{job}/exceptions?maxExceptions=0")).await;
    assert_eq!(
        (answer["exceptionHistory"]["entries"].as_array().unwrap().len(), &answer["truncated"]),
        (0, &json!(true))
    );
}

#[tokio::test]
async fn secrets_of_a_job_are_not_shown() {
    let server = Server::start().await;
    let graph = graph(7, &[1], &[], &[("properties.sasl.password", "s3cret"), ("pipeline.name", "x")]);
    let job = server.manager.dispatcher().submit(graph).await.unwrap();
    let (_, config) = server.get(&format!("/jobs/{job}/config")).await;
    let shown = &config["execution-config"]["user-config"];
    assert_eq!(shown, &json!({ "pipeline.name": "x", "properties.sasl.password": "******" }));
}

#[tokio::test]
async fn the_newest_lines_of_the_log_are_served() {
    let server = Server::start().await;
    let (_, logs) = server.get("/jobmanager/logs").await;
    assert_eq!(logs, json!({ "logs": [{ "name": "jobmanager.log", "size": 0, "mtime": 0 }] }));
    writeln!(server.manager.log(), "INFO a line").unwrap();
    for path in ["/jobmanager/log", "/jobmanager/logs/jobmanager.log"] {
        let (status, text) = server.send(Method::GET, path, "").await;
        assert_eq!((status.as_u16(), text.as_ref()), (200, b"INFO a line\n".as_slice()));
    }
    let (_, threads) = server.get("/jobmanager/thread-dump").await;
    assert!(!threads["threadInfos"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_savepoint_is_removed_and_the_removal_can_be_polled() {
    let server = Server::start().await;
    let url = "file:///s/savepoint-1/_metadata";
    server.notes.manifests.lock().insert(url.to_owned(), manifest());
    let outcome = async |path: &str| {
        let body = json!({ "savepoint-path": path }).to_string();
        let (status, asked) = server.json(Method::POST, "/savepoint-disposal", body).await;
        assert_eq!(status, 200);
        let path = format!("/savepoint-disposal/{}", asked["request-id"].as_str().unwrap());
        loop {
            let (_, answer) = server.get(&path).await;
            if answer["status"]["id"] == "COMPLETED" {
                return answer["operation"].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(outcome("file:///s/savepoint-1").await, json!({}));
    assert!(server.notes.manifests.lock().is_empty());
    assert_eq!(outcome("file:///s/savepoint-1").await["failure-cause"]["class"], "io");
}

#[tokio::test]
async fn the_cluster_can_be_stopped() {
    let server = Server::start().await;
    let (status, answer) = server.json(Method::DELETE, "/v1/cluster", "").await;
    assert_eq!((status, answer), (200, json!({})));
    server.serving.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}
