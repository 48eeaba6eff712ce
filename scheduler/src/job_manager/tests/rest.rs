//! REST over a real listener: shapes, refusals, results, the worker's door.

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
    ipc::writer::StreamWriter,
};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use thalweg_graph::{JobId, JobStatus};
use thalweg_rpc::{ToLeader, ToWorker, Trust, upgrade};

use super::{fakes::FakeWorker, server::Server};
use crate::testing::{graph, query, registration};

fn rows(count: i64) -> Bytes {
    let schema = std::sync::Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let column = std::sync::Arc::new(Int64Array::from_iter_values(0..count));
    let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes.into()
}

async fn run_query(server: &Server, worker: &mut FakeWorker, count: i64) -> JobId {
    let job = server.manager.dispatcher().submit(query(7)).await.unwrap();
    let attempt = worker.deployed().await[0];
    worker.say(ToLeader::ResultChunk { attempt, bytes: rows(count) }).await;
    worker.finish(attempt).await;
    server.manager.dispatcher().wait(job).await.unwrap();
    job
}

#[tokio::test]
async fn every_answer_has_the_shape_that_the_description_says() {
    let server = Server::start().await;
    let mut worker = FakeWorker::attach(&server.manager, "a", 1).await;
    let finished = run_query(&server, &mut worker, 3).await;
    let dispatcher = server.manager.dispatcher();
    let running = dispatcher.submit(graph(8, &[1], &[], &[])).await.unwrap();
    let failed = dispatcher.submit(graph(9, &[1], &[], &[])).await.unwrap();
    let attempt = worker.deployed().await[0];
    worker.fail(attempt, thalweg_graph::FailureKind::Deterministic).await;
    assert_eq!(dispatcher.wait(running).await.unwrap().status, JobStatus::Failed);
    let (failed, running) = (running, failed);

    let (_, description) = server.get("/v1/openapi.json").await;
    let mut checked = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        let Some(operation) = operations.get("get") else { continue };
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        // Those of streams are tested where one runs.
        if schema.is_null() || path.contains("{triggerid}") || path.contains("{checkpointid}") {
            continue;
        }
        // This JobManager is alone.
        if path == "/quorum" {
            continue;
        }
        let mut schema = schema.clone();
        schema["components"] = description["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for job in [finished, running, failed] {
            if path.ends_with("/result") && job != finished {
                continue;
            }
            let path = path.replace("{jobid}", &job.to_string()).replace("{taskmanagerid}", "a");
            let path = path.replace("{subtaskindex}", "0").replace("{attempt}", "0");
            let path = path.replace("{vertexid}", &format!("{:032x}", 1))
                + if path.ends_with("/wait") { "?timeout=0" } else { "" };
            for prefix in ["", "/v1"] {
                let (status, answer) = server.get(&format!("{prefix}{path}")).await;
                assert_eq!(status, 200, "{path}: {answer}");
                let errors: Vec<_> =
                    validator.iter_errors(&answer).map(|e| format!("{}: {e}", e.instance_path())).collect();
                assert!(errors.is_empty(), "{path}: {errors:?} in {answer}");
            }
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked}");
}

#[tokio::test]
async fn every_reference_and_route_of_the_description_leads_somewhere() {
    let server = Server::start().await;
    let (_, description) = server.get("/openapi.json").await;
    let schemas = description["components"]["schemas"].as_object().unwrap();
    let text = description.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name} is described nowhere");
    }
    for (path, operations) in description["paths"].as_object().unwrap() {
        let path = path.replace("{jobid}", &"0".repeat(32)).replace("{vertexid}", &"1".repeat(32));
        for method in operations.as_object().unwrap().keys() {
            if path == "/cluster" {
                // Nothing would be served behind it.
                continue;
            }
            let method = method.to_uppercase().parse().unwrap();
            let (status, answer) = server.send(method, &path, "").await;
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert!(!String::from_utf8_lossy(&answer).contains("unknown-path"), "{path}");
        }
    }
}

#[tokio::test]
async fn refusals_have_a_status_a_code_and_a_text() {
    let server = Server::start().await;
    let missing = "0".repeat(32);
    for (method, path, body, status, code) in [
        (Method::GET, format!("/v1/jobs/{missing}"), "", 404, "unknown-job"),
        (Method::GET, format!("/jobs/{missing}/vertices/{missing}"), "", 400, "malformed-id"),
        (Method::GET, "/v1/jobs/nonsense".to_owned(), "", 400, "malformed-id"),
        (Method::GET, "/v1/nonsense".to_owned(), "", 404, "unknown-path"),
        (Method::GET, "/v1/taskmanagers/x".to_owned(), "", 404, "unknown-worker"),
        (Method::DELETE, "/v1/jobs".to_owned(), "", 405, "wrong-method"),
        (Method::PATCH, format!("/v1/jobs/{missing}?mode=stop"), "", 400, "unsupported-mode"),
        (Method::PATCH, format!("/v1/jobs/{missing}?mode=cancel"), "", 404, "unknown-job"),
        (Method::GET, format!("/v1/jobs/{missing}/wait?timeout=soon"), "", 400, "malformed-timeout"),
        (Method::GET, format!("/v1/sql/jobs/{missing}/result?token=-1"), "", 400, "malformed-query"),
        (Method::POST, "/v1/sql/jobs".to_owned(), "{", 400, "malformed-body"),
        (Method::POST, "/v1/sql/jobs".to_owned(), r#"{"scrip": "a"}"#, 400, "malformed-body"),
        (Method::GET, thalweg_rpc::WORKER_SESSION_PATH.to_owned(), "", 426, "upgrade-required"),
    ] {
        let (found, answer) = server.json(method, &path, body).await;
        assert_eq!((found, answer["code"].as_str()), (status, Some(code)), "{path}: {answer}");
        assert!(answer["errors"][0].as_str().is_some_and(|text| !text.is_empty()));
    }
    let option = json!({ "script": "set", "configuration": { "rest.port": "high" } });
    let (status, answer) = server.json(Method::POST, "/v1/sql/jobs", option.to_string()).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("invalid-option")));
}

#[tokio::test]
async fn a_script_is_accepted_and_a_refused_one_names_the_place() {
    let server = Server::start().await;
    let mut worker = FakeWorker::attach(&server.manager, "a", 1).await;
    let script =
        json!({ "script": "set\ninsert", "name": "nightly", "parallelism": 1, "idempotencyKey": "k" });
    let (status, accepted) = server.json(Method::POST, "/v1/sql/jobs", script.to_string()).await;
    assert_eq!((status, &accepted["jobs"][0]["line"]), (202, &json!(2)));
    assert_eq!(accepted["jobid"], accepted["jobs"][0]["jobid"]);
    let again = server.json(Method::POST, "/v1/sql/jobs", script.to_string()).await;
    assert_eq!(again, (202, accepted.clone()));
    let attempt = worker.deployed().await[0];
    worker.finish(attempt).await;
    let job = accepted["jobid"].as_str().unwrap();
    let (_, end) = server.get(&format!("/v1/jobs/{job}/wait?timeout=10s")).await;
    assert_eq!((&end["status"], &end["ended"]), (&json!("FINISHED"), &json!(true)));
    let (_, jobs) = server.get("/jobs/overview").await;
    assert_eq!(jobs["jobs"][0]["name"], "nightly");
    let (status, _) = server.get(&format!("/v1/sql/jobs/{job}/result")).await;
    assert_eq!(status, 404);

    let (status, answer) = server.json(Method::POST, "/v1/sql/jobs", r#"{"script": "syntax"}"#).await;
    assert_eq!(status, 400);
    assert_eq!(answer, json!({ "errors": ["not a word"], "code": "sql-syntax", "line": 1, "column": 3 }));
}

#[tokio::test]
async fn results_come_as_pages_and_as_the_stream_itself() {
    let server = Server::start().await;
    let mut worker = FakeWorker::attach(&server.manager, "a", 1).await;
    let job = run_query(&server, &mut worker, 1_500).await;
    let mut uri = format!("/v1/sql/jobs/{job}/result");
    let mut sizes = Vec::new();
    loop {
        let (status, page) = server.get(&uri).await;
        assert_eq!(status, 200, "{page}");
        assert_eq!(page["columns"][0]["logicalType"]["type"], "BIGINT");
        sizes.push(page["data"].as_array().unwrap().len());
        let Some(next) = page["nextResultUri"].as_str() else { break };
        uri = next.to_owned();
    }
    assert_eq!(sizes, [1_000, 500]);
    let (status, _) = server.get(&format!("/v1/sql/jobs/{job}/result?token=9")).await;
    assert_eq!(status, 404);
    let (_, stream) = server.send(Method::GET, &format!("/v1/sql/jobs/{job}/result?format=arrow"), "").await;
    assert_eq!(stream, rows(1_500));
}

#[tokio::test]
async fn cancel_and_progress_go_over_the_wire() {
    let server = Server::start().await;
    let mut worker = FakeWorker::attach(&server.manager, "a", 1).await;
    let job = server.manager.dispatcher().submit(graph(7, &[1], &[], &[])).await.unwrap();
    let attempt = worker.deployed().await[0];
    let (status, _) = server.json(Method::PATCH, &format!("/v1/jobs/{job}?mode=cancel"), "").await;
    assert_eq!(status, 202);
    worker.update(attempt, thalweg_rpc::TaskUpdate::Canceled).await;
    let (_, events) = server.send(Method::GET, &format!("/v1/jobs/{job}/progress"), "").await;
    let events = String::from_utf8(events.to_vec()).unwrap();
    let last = events.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["status"], "CANCELED");
}

#[tokio::test]
async fn a_worker_comes_in_by_the_control_port_and_its_end_is_seen() {
    let server = Server::start().await;
    let mut session = upgrade::connect(&server.address.to_string(), &Trust::default()).await.unwrap();
    session.sender.send(ToLeader::Register(registration("remote", 3))).await.unwrap();
    assert!(matches!(session.receiver.recv().await, Some(ToWorker::Welcome { .. })));
    let (_, workers) = server.get("/taskmanagers").await;
    assert_eq!(workers["taskmanagers"][0]["slotsNumber"], 3);
    let edges = [(0, 1, thalweg_graph::exchange::ExchangeKind::Pipelined)];
    let dispatcher = server.manager.dispatcher();
    let job = dispatcher.submit(graph(7, &[1, 1], &edges, &[])).await.unwrap();
    assert!(matches!(session.receiver.recv().await, Some(ToWorker::Deploy { .. })));
    drop(session);
    let mut progress = dispatcher.watch(job).await.unwrap();
    let restarting = progress.wait_for(|progress| progress.restarts == 1).await;
    assert!(restarting.is_ok());
}

#[tokio::test]
async fn secrets_are_not_shown() {
    let server = Server::start().await;
    let (_, config) = server.get("/v1/jobmanager/config").await;
    assert!(!config.to_string().contains("s3cret"), "{config}");
}
