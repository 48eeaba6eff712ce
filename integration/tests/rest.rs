//! The REST API's own description against its real answers.

use jsonschema::Validator;
use serde_json::{Value, json};
use thalweg_integration::processes::{Cluster, ClusterConfig};

use crate::place::{binary, shared_cluster};

/// The description, as the server gives it.
pub const DESCRIPTION: &str = "/v1/openapi.json";

/// What a path's parameters are replaced with.
struct Ids {
    job: String,
    vertex: String,
    worker: String,
}

impl Ids {
    fn fill(&self, path: &str) -> String {
        let replace = |segment: &str| match segment {
            "{job}" | "{jobid}" | "{job_id}" | "{id}" if path.contains("/jobs") => self.job.clone(),
            "{vertex}" | "{vertexid}" | "{vertex_id}" => self.vertex.clone(),
            "{worker}" | "{taskmanager}" | "{taskmanagerid}" | "{id}" => self.worker.clone(),
            "{subtask}" | "{index}" | "{subtaskindex}" | "{attempt}" | "{page}" | "{token}" => "0".to_owned(),
            other => other.to_owned(),
        };
        path.split('/').map(replace).collect::<Vec<_>>().join("/")
    }
}

/// Checks answers against the schemas of the description.
pub fn validator(description: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    // References point into the description's components.
    schema["components"] = description["components"].clone();
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{error}: {schema}"))
}

/// Runs a script whose first job ends well.
async fn run_job(cluster: &Cluster, script: &str) -> Ids {
    let script = json!({ "script": script });
    let http = reqwest::Client::new();
    let response = http.post(cluster.url("/v1/sql/jobs")).json(&script).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    let accepted: Value = response.json().await.unwrap();
    let job = accepted["jobs"][0]["jobid"].as_str().expect("the answer names the job").to_owned();
    loop {
        let details = cluster.get(&format!("/v1/jobs/{job}")).await.unwrap();
        match details["state"].as_str().unwrap_or_default() {
            "FINISHED" => {
                let vertex = details["vertices"][0]["id"].as_str().unwrap().to_owned();
                let workers = cluster.get("/v1/taskmanagers").await.unwrap();
                let worker = workers["taskmanagers"][0]["id"].as_str().unwrap().to_owned();
                return Ids { job, vertex, worker };
            }
            "FAILED" | "CANCELED" => panic!("{details}"),
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_the_shape_that_the_description_says() {
    let cluster = shared_cluster().await;
    let ids = run_job(&cluster, "SELECT count(*) FROM (VALUES (1), (2)) AS t (a)").await;
    let description = cluster.get(DESCRIPTION).await.unwrap();
    let paths = description["paths"].as_object().expect("the description has paths");
    let mut checked = 0;
    for (path, operations) in paths {
        let Some(operation) = operations.get("get") else { continue };
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        // Those of streams are tested where there is one.
        if schema.is_null() || path.contains("{triggerid}") || path.contains("{checkpointid}") {
            continue;
        }
        // This JobManager is alone.
        if path == "/quorum" {
            continue;
        }
        let url = ids.fill(path);
        assert!(!url.contains('{'), "this test does not know what to put into {path}");
        let answer = cluster.get(&url).await.unwrap_or_else(|error| panic!("{url}: {error:#}"));
        let errors: Vec<String> =
            validator(&description, schema).iter_errors(&answer).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{url}: {errors:?}\n{answer:#}");
        checked += 1;
    }
    assert!(checked >= 10, "only {checked} paths have a schema");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skipped_rows_are_counted() {
    let cluster = shared_cluster().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "1\ntwo\n3\n").unwrap();
    std::fs::write(folder.path().join("b.csv"), "four\n").unwrap();
    let script = format!(
        "CREATE TABLE t (a INT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv', \
         'csv.ignore-parse-errors' = 'true'); SELECT count(a) FROM t",
        folder.path().display()
    );
    let ids = run_job(&cluster, &script).await;
    let details = cluster.get(&format!("/v1/jobs/{}", ids.job)).await.unwrap();
    let vertices = details["vertices"].as_array().unwrap();
    let skipped: u64 =
        vertices.iter().map(|vertex| vertex["metrics"]["skipped-records"].as_u64().unwrap()).sum();
    assert_eq!(skipped, 2, "{details:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_have_a_code_a_text_and_the_place_in_the_script() {
    let cluster = shared_cluster().await;
    let http = reqwest::Client::new();
    let script = json!({ "script": "SELECT 1;\nSELECT * FRM t" });
    let response = http.post(cluster.url("/v1/sql/jobs")).json(&script).send().await.unwrap();
    assert_eq!(response.status(), 400);
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["code"], "sql-syntax", "{error}");
    assert_eq!((error["line"].as_u64(), error["column"].as_u64()), (Some(2), Some(10)), "{error}");
    assert!(error["errors"][0].as_str().is_some_and(|text| !text.is_empty()), "{error}");

    let missing = format!("/v1/jobs/{}", "0".repeat(32));
    assert_eq!(http.get(cluster.url(&missing)).send().await.unwrap().status(), 404);
    assert_eq!(http.get(cluster.url("/v1/jobs/nonsense")).send().await.unwrap().status(), 400);
    assert_eq!(http.get(cluster.url("/v1/nonsense")).send().await.unwrap().status(), 404);
    let broken = http.post(cluster.url("/v1/sql/jobs")).body("{").header("content-type", "application/json");
    assert_eq!(broken.send().await.unwrap().status(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_runs_a_script_once() {
    let cluster = shared_cluster().await;
    let http = reqwest::Client::new();
    let script = json!({ "script": "SELECT 1", "idempotency_key": "rest-test-1" });
    let mut answers = Vec::new();
    for _ in 0..2 {
        let response = http.post(cluster.url("/v1/sql/jobs")).json(&script).send().await.unwrap();
        assert!(response.status().is_success());
        answers.push(response.json::<Value>().await.unwrap());
    }
    assert_eq!(answers[0]["jobs"], answers[1]["jobs"]);
}

/// A form with one file, as clients send a jar.
fn form(name: &str, file: &[u8]) -> Vec<u8> {
    let head =
        format!("--b\r\nContent-Disposition: form-data; name=\"jarfile\"; filename=\"{name}\"\r\n\r\n");
    [head.as_bytes(), file, b"\r\n--b--\r\n"].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uploaded_script_is_planned_and_run() {
    let cluster = shared_cluster().await;
    let http = reqwest::Client::new();
    let post = async |path: &str, body: Vec<u8>| {
        let request = http.post(cluster.url(path)).header("content-type", "multipart/form-data; boundary=b");
        let response = request.body(body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let script =
        b"CREATE TABLE out (a INT) WITH ('connector' = 'blackhole');\nINSERT INTO out VALUES (1), (2);";
    let (status, uploaded) = post("/v1/jars/upload", form("job.sql", script)).await;
    assert_eq!(status, 200, "{uploaded}");
    let id = uploaded["filename"].as_str().unwrap();
    let (_, planned) = post(&format!("/v1/jars/{id}/plan"), Vec::new()).await;
    assert!(!planned["plan"]["nodes"].as_array().unwrap().is_empty(), "{planned}");
    let (_, started) = post(&format!("/v1/jars/{id}/run?parallelism=1"), Vec::new()).await;
    let job = started["jobid"].as_str().unwrap_or_else(|| panic!("{started}"));
    let end = cluster.get(&format!("/v1/jobs/{job}/wait")).await.unwrap();
    assert_eq!(end["status"], "FINISHED", "{end}");
    let (status, refused) = post("/v1/jars/upload", form("job.jar", b"PK\x03\x04")).await;
    assert_eq!((status, &refused["code"]), (400, &json!("jvm-artifact")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_ends_when_it_is_asked_to() {
    let cluster = Cluster::start(ClusterConfig::new(binary(), 1, 1)).await.unwrap();
    let log = reqwest::get(cluster.url("/jobmanager/log")).await.unwrap().text().await.unwrap();
    assert!(log.contains("INFO"), "{log}");
    let stopped = reqwest::Client::new().delete(cluster.url("/v1/cluster")).send().await.unwrap();
    assert_eq!(stopped.status(), 200);
    let gone = async {
        while reqwest::get(cluster.url("/v1/overview")).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("the port closes");
}
