//! Artifacts over REST: a script is sent as Flink's clients send a jar, then run, planned and removed.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{fakes::FakeWorker, server::Server};

fn form(fields: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, file, bytes) in fields {
        let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
        body.extend(
            format!("--b\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\r\n").into_bytes(),
        );
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--b--\r\n");
    body
}

async fn upload(server: &Server, content_type: &str, body: &[u8]) -> (u16, Value) {
    let mut request = format!(
        "POST /v1/jars/upload HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    let (status, _, body) = server.raw(&request).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn upload_script(server: &Server, name: &str, script: &[u8]) -> (u16, Value) {
    upload(server, "multipart/form-data; boundary=b", &form(&[("jarfile", Some(name), script)])).await
}

#[tokio::test]
async fn a_script_is_uploaded_listed_planned_run_and_removed() {
    let server = Server::start().await;
    let mut worker = FakeWorker::attach(&server.manager, "a", 1).await;
    let (status, answer) = upload_script(&server, "..\\jobs\\daily.sql", b"set\ninsert").await;
    assert_eq!((status, &answer["status"]), (200, &json!("success")));
    let id = answer["filename"].as_str().unwrap();
    assert!(id.ends_with("_daily.sql"), "{id}");

    let (_, listed) = server.get("/jars").await;
    assert_eq!(listed["files"][0]["id"], id);
    assert_eq!(listed["files"][0]["entry"], json!([{ "name": "daily.sql", "description": null }]));

    let (status, planned) = server.json(Method::POST, &format!("/jars/{id}/plan"), "").await;
    assert_eq!((status, planned["plan"]["nodes"].as_array().unwrap().len()), (200, 1), "{planned}");
    assert_eq!(server.get("/jobs").await.1, json!({ "jobs": [] }));

    let body = json!({ "entryClass": "daily", "parallelism": 1, "programArgsList": [], "flinkConfiguration": { "pipeline.name": "x" } });
    let (status, started) = server.json(Method::POST, &format!("/v1/jars/{id}/run"), body.to_string()).await;
    assert_eq!((status, &started["jobs"][0]["line"]), (200, &json!(2)), "{started}");
    assert_eq!(started["jobid"], started["jobs"][0]["jobid"]);
    let attempt = worker.deployed().await[0];
    worker.finish(attempt).await;
    let job = started["jobid"].as_str().unwrap();
    let (_, end) = server.get(&format!("/jobs/{job}/wait?timeout=10s")).await;
    assert_eq!(end["status"], "FINISHED");

    for (status, code) in [(200, None), (404, Some("unknown-artifact"))] {
        let (found, answer) = server.json(Method::DELETE, &format!("/jars/{id}"), "").await;
        assert_eq!((found, answer["code"].as_str()), (status, code));
    }
}

#[tokio::test]
async fn forms_that_are_none_are_refused() {
    let server = Server::start().await;
    let multipart = "multipart/form-data; boundary=b";
    let script: &[u8] = b"insert";
    let good = form(&[("jarfile", Some("a.sql"), script)]);
    for (content_type, body, code) in [
        ("application/json", b"{}".to_vec(), "malformed-form"),
        ("multipart/form-data", good.clone(), "malformed-form"),
        (multipart, Vec::new(), "malformed-form"),
        (multipart, form(&[]), "malformed-form"),
        (multipart, good[..good.len() / 2].to_vec(), "malformed-form"),
        (multipart, good[..good.len() - 6].to_vec(), "malformed-form"),
        (multipart, form(&[("other", Some("a.sql"), script)]), "malformed-form"),
        (multipart, form(&[("jarfile", None, script)]), "malformed-form"),
        (
            multipart,
            form(&[("jarfile", Some("a.sql"), script), ("jarfile", Some("b.sql"), script)]),
            "malformed-form",
        ),
        (multipart, form(&[("jarfile", Some(""), script)]), "malformed-name"),
        (multipart, form(&[("jarfile", Some("../.."), script)]), "malformed-name"),
        (multipart, form(&[("jarfile", Some("a.jar"), b"PK\x03\x04")]), "jvm-artifact"),
        (multipart, form(&[("jarfile", Some("a.wasm"), b"\0asm")]), "unsupported-artifact"),
        (multipart, form(&[("jarfile", Some("a.zip"), b"PK\x05\x06")]), "malformed-archive"),
        (multipart, form(&[("jarfile", Some("a.sql"), b"\xff")]), "malformed-script"),
    ] {
        let (status, answer) = upload(&server, content_type, &body).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{answer}");
    }
    assert_eq!(server.get("/jars").await.1["files"], json!([]));
}

#[tokio::test]
async fn what_has_no_meaning_for_a_script_is_refused() {
    let server = Server::start().await;
    let (_, answer) = upload_script(&server, "a.sql", b"insert").await;
    let id = answer["filename"].as_str().unwrap().to_owned();
    let (_, broken) = upload_script(&server, "b.sql", b"syntax").await;
    let broken = broken["filename"].as_str().unwrap().to_owned();
    let (_, empty) = upload_script(&server, "c.sql", b"set").await;
    let empty = empty["filename"].as_str().unwrap().to_owned();
    for (path, body, code) in [
        (format!("/jars/{id}/run"), json!({ "jobId": "1" }), "unsupported-field"),
        (format!("/jars/{id}/run"), json!({ "restoreMode": "LEGACY" }), "unsupported-field"),
        (format!("/jars/{id}/run"), json!({ "programArgs": "--input a" }), "unsupported-field"),
        (format!("/jars/{id}/run"), json!({ "entryClass": "org.example.Job" }), "unknown-script"),
        (
            format!("/jars/{id}/run"),
            json!({ "flinkConfiguration": { "rest.port": "high" } }),
            "invalid-option",
        ),
        (
            format!("/jars/{id}/plan"),
            json!({ "flinkConfiguration": { "rest.port": "high" } }),
            "invalid-option",
        ),
        (format!("/jars/{broken}/run"), json!({}), "sql-syntax"),
        (format!("/jars/{broken}/plan"), json!({}), "sql-syntax"),
        (format!("/jars/{empty}/plan"), json!({}), "no-job"),
    ] {
        let (status, answer) = server.json(Method::POST, &path, Bytes::from(body.to_string())).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{path}: {answer}");
    }
}
