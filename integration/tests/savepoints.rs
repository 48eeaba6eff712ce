//! Savepoints of a running stream: taken, stopped with, and gone on from at other parallelisms, until what is left is compared with what
//! the same query gives as a batch.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use thalweg::{Client, Execution};
use thalweg_graph::{JobId, Options};
use thalweg_integration::{
    processes::{Cluster, ClusterConfig},
    stream_drill::{compare, counted},
};
use thalweg_plan::Session;

use crate::{
    place::binary,
    rest::{DESCRIPTION, validator},
};

/// Rows of a job, and how many of them come in a second.
const ROWS: u64 = 60_000;
const ROWS_PER_SECOND: u64 = 20_000;
/// Time for whatever is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

const QUERY: &str = "SELECT window_end, k, COUNT(*) AS n, SUM(v) AS s \
                     FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(ts), INTERVAL '5' SECOND)) \
                     GROUP BY window_start, window_end, k";

struct Stream {
    cluster: Cluster,
    client: Client,
    folder: TempDir,
}

impl Stream {
    async fn start() -> Stream {
        let cluster = Cluster::start(ClusterConfig::new(binary(), 1, 3)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let options: Options = [
            ("execution.runtime-mode", "STREAMING".to_owned()),
            ("execution.checkpointing.interval", "50 ms".to_owned()),
            ("execution.checkpointing.dir", format!("file://{}/checkpoints", folder.path().display())),
            (
                "execution.checkpointing.savepoint-dir",
                format!("file://{}/savepoints", folder.path().display()),
            ),
            ("restart-strategy.type", "none".to_owned()),
        ]
        .into_iter()
        .collect();
        let mut client = Client::remote(&cluster.address, options).await.unwrap();
        let last = ROWS - 1;
        let tables = format!(
            "CREATE TABLE events (id BIGINT, k BIGINT, v BIGINT, \
               ts AS CAST(TIMESTAMPADD(SECOND, CAST(id / 1000 AS INT), TIMESTAMP '2026-01-01 00:00:00') AS TIMESTAMP(3)), \
               WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) \
             WITH ('connector' = 'datagen', 'number-of-rows' = '{ROWS}', 'rows-per-second' = '{ROWS_PER_SECOND}', \
               'fields.id.kind' = 'sequence', 'fields.id.start' = '0', 'fields.id.end' = '{last}', \
               'fields.k.min' = '0', 'fields.k.max' = '9', 'fields.v.min' = '1', 'fields.v.max' = '1000'); \
             CREATE TABLE sums (window_end TIMESTAMP(3), k BIGINT, n BIGINT, s BIGINT) \
             WITH ('connector' = 'filesystem', 'path' = '{}/sums', 'format' = 'csv')",
            folder.path().display()
        );
        client.sql(&tables).await.unwrap();
        Stream { cluster, client, folder }
    }

    /// Starts the job, from a savepoint where one is given.
    async fn insert(&mut self, parallelism: u32, savepoint: Option<&str>) -> JobId {
        let savepoint = savepoint.unwrap_or_default();
        let set = format!(
            "SET 'parallelism.default' = '{parallelism}'; SET 'execution.state-recovery.path' = '{savepoint}'"
        );
        self.client.sql(&set).await.unwrap();
        let insert = Session::parse(&format!("INSERT INTO sums {QUERY}")).unwrap();
        match self.client.execute(&insert[0]).await.unwrap() {
            Execution::Job { job, .. } => job,
            _ => panic!("an INSERT made no job"),
        }
    }

    /// Why the job cannot go on from a savepoint.
    async fn refused(&mut self, savepoint: &str, query: &str) -> String {
        let set = format!("SET 'execution.state-recovery.path' = '{savepoint}'");
        self.client.sql(&set).await.unwrap();
        let refused = self.client.sql(&format!("INSERT INTO sums {query}")).await;
        let _ = self.client.sql("SET 'execution.state-recovery.path' = ''").await.unwrap();
        format!("{:#}", refused.expect_err("it must be refused"))
    }

    async fn get(&self, path: &str) -> Value {
        self.cluster.get(&format!("/v1{path}")).await.unwrap()
    }

    /// Asks for something and waits until it is there.
    async fn trigger(&self, job: JobId, what: &str, body: Value) -> Value {
        let url = self.cluster.url(&format!("/v1/jobs/{job}/{what}"));
        let response = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
        assert_eq!(response.status(), 202, "{}", response.text().await.unwrap());
        let asked: Value = response.json().await.unwrap();
        let trigger = asked["request-id"].as_str().unwrap();
        let path = format!("/jobs/{job}/savepoints/{trigger}");
        self.wait_for(&path, |status| status["status"]["id"] == "COMPLETED").await["operation"].clone()
    }

    async fn wait_for(&self, path: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let answer = self.get(path).await;
                if is_it(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let answer = tokio::time::timeout(PATIENCE, waiting).await;
        answer.unwrap_or_else(|_| panic!("{path} did not become so:\n{}", self.cluster.logs()))
    }

    /// The answers about checkpoints, held against the API's description.
    async fn check_description(&self, job: JobId, checkpoint: u64) {
        let description = self.get(&DESCRIPTION["/v1".len()..]).await;
        for (path, url) in [
            ("/jobs/{jobid}/checkpoints", format!("/jobs/{job}/checkpoints")),
            ("/jobs/{jobid}/checkpoints/config", format!("/jobs/{job}/checkpoints/config")),
            (
                "/jobs/{jobid}/checkpoints/details/{checkpointid}",
                format!("/jobs/{job}/checkpoints/details/{checkpoint}"),
            ),
            (
                "/jobs/{jobid}/checkpoints/details/{checkpointid}/subtasks/{vertexid}",
                format!("/jobs/{job}/checkpoints/details/{checkpoint}/subtasks/{:032x}", 1),
            ),
        ] {
            let schema = &description["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
                ["schema"];
            let answer = self.get(&url).await;
            let errors: Vec<String> =
                validator(&description, schema).iter_errors(&answer).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{url}: {errors:?}\n{answer:#}");
        }
    }

    async fn finished(&self, job: JobId) {
        self.wait_for(&format!("/jobs/{job}/status"), |status| status["status"] == "FINISHED").await;
    }
}

fn path_of(url: &str) -> &Path {
    Path::new(url.strip_prefix("file://").expect("the savepoint has a URL"))
}

/// Removes a savepoint; what is said, and whether it was done.
fn dispose(url: &str) -> (String, bool) {
    let ran = binary().command().args(["savepoint", "--dispose", url]).output().unwrap();
    let text = [ran.stdout, ran.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), ran.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_from_savepoints_at_other_parallelisms() {
    let mut stream = Stream::start().await;
    let first = stream.insert(2, None).await;
    let path = format!("/jobs/{first}/checkpoints");
    let completed = |answer: &Value| answer["latest"]["completed"]["id"].as_u64();
    let answer = stream.wait_for(&path, |answer| completed(answer) >= Some(2)).await;
    assert_eq!(answer["latest"]["restored"], Value::Null);
    let newest = completed(&answer).unwrap();
    stream.check_description(first, newest).await;
    let parts = stream.get(&format!("/jobs/{first}/checkpoints/details/{newest}/subtasks/{:032x}", 1)).await;
    assert_eq!(parts["num_acknowledged_subtasks"], parts["subtasks"].as_array().unwrap().len(), "{parts}");
    let taken = stream.trigger(first, "savepoints", json!({})).await;
    let savepoint = taken["location"].as_str().unwrap_or_else(|| panic!("{taken}")).to_owned();
    assert!(path_of(&savepoint).join("_metadata").is_file());

    let stopped = stream.trigger(first, "stop", json!({})).await["location"].clone();
    stream.finished(first).await;
    let second = stream.insert(3, stopped.as_str()).await;
    let path = format!("/jobs/{second}/checkpoints");
    let answer = stream.wait_for(&path, |answer| completed(answer) >= Some(1)).await;
    let restored = &answer["latest"]["restored"];
    assert_eq!(
        (&restored["external_path"], &restored["is_savepoint"]),
        (&stopped, &json!(true)),
        "{restored}"
    );
    stream.check_description(second, completed(&answer).unwrap()).await;
    let stopped = stream.trigger(second, "stop", json!({})).await["location"].clone();
    stream.finished(second).await;
    let third = stream.insert(1, stopped.as_str()).await;
    stream.finished(third).await;

    // The same job without its windows has no use for their state.
    let other = "SELECT ts, k, v, v FROM events";
    let why = stream.refused(&savepoint, other).await;
    assert!(why.contains("WindowAggregate") && why.contains("ignore-unclaimed-state"), "{why}");
    let explain = format!("EXPLAIN UPGRADE '{savepoint}' FOR INSERT INTO sums {other}");
    let fates = format!("{:?}", stream.client.sql(&explain).await.unwrap());
    assert!(fates.contains("kept Source: events 1") && fates.contains("dropped "), "{fates}");

    // A checkpoint's manifest differs in nothing else.
    let manifest = std::fs::read_to_string(path_of(&savepoint).join("_metadata")).unwrap();
    let checkpoint = manifest.replace("\"savepoint\":true", "\"savepoint\":false");
    assert_ne!(checkpoint, manifest);
    let file = stream.folder.path().join("_metadata");
    std::fs::write(&file, checkpoint).unwrap();
    let (text, done) = dispose(&format!("file://{}", file.display()));
    assert!(!done && text.contains("is a checkpoint of job") && file.is_file(), "{text}");
    assert_eq!(dispose(&savepoint), (format!("Savepoint '{savepoint}' disposed.\n"), true));
    assert!(!path_of(&savepoint).exists());
    let (text, done) = dispose(&savepoint);
    assert!(!done && text.contains("does not exist"), "{text}");

    let left: Vec<_> = std::fs::read_dir(stream.folder.path().join("checkpoints")).unwrap().collect();
    assert!(left.is_empty(), "jobs that have finished leave no checkpoints: {left:?}");
    stream.client.sql("SET 'execution.runtime-mode' = 'BATCH'").await.unwrap();
    let expected = counted(&stream.client.sql(QUERY).await.unwrap()).unwrap();
    let found = counted(&stream.client.sql("SELECT * FROM sums").await.unwrap()).unwrap();
    compare(&expected, &found).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_that_is_not_there_or_damaged_is_named() {
    let mut stream = Stream::start().await;
    let failure = async |stream: &Stream, job: JobId| {
        let path = format!("/jobs/{job}");
        let details = stream.wait_for(&path, |details| details["state"] == "FAILED").await;
        details["failure"]["message"].as_str().unwrap().to_owned()
    };
    let why = stream.refused("file:///no/such/savepoint", QUERY).await;
    assert!(why.contains("`file:///no/such/savepoint` does not exist"), "{why}");

    let job = stream.insert(1, None).await;
    stream
        .wait_for(&format!("/jobs/{job}/checkpoints"), |answer| !answer["latest"]["completed"].is_null())
        .await;
    let savepoint = stream.trigger(job, "stop", json!({})).await["location"].as_str().unwrap().to_owned();
    stream.finished(job).await;
    let state = std::fs::read_dir(path_of(&savepoint).join("state")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&state).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&state, bytes).unwrap();
    let job = stream.insert(1, Some(&savepoint)).await;
    let why = failure(&stream, job).await;
    assert!(why.contains("is damaged") && why.contains(&state.display().to_string()), "{why}");
}
