//! Queries whose rows are read as they come: in order, until Ctrl-C, by one reader who need not be fast, and for nobody not at all.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use thalweg_graph::Options;
use thalweg_integration::processes::{Cluster, ClusterConfig};

use crate::place::binary;

/// Time for whatever is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Numbers in order, shown as they come.
fn numbers(rate: &str) -> String {
    format!(
        "SET 'execution.runtime-mode' = 'STREAMING'; SET 'sql-client.execution.result-mode' = 'changelog'; \
         CREATE TABLE numbers (n BIGINT) WITH ('connector' = 'datagen', {rate} 'fields.n.kind' = 'sequence', \
           'fields.n.start' = '0', 'fields.n.end' = '1000000000000'); "
    )
}

/// The shell's process, and the rows that it prints.
struct Shell {
    process: Child,
    rows: BufReader<ChildStdout>,
}

impl Shell {
    fn start(script: &str, cluster: Option<&Cluster>) -> Self {
        let mut command = binary().command();
        command.args(["sql", "-D", "parallelism.default=1", "-o", "csv", "-e", script]);
        if let Some(cluster) = cluster {
            command.args(["-m", &cluster.address]);
        }
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let rows = BufReader::new(process.stdout.take().unwrap());
        Self { process, rows }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.rows.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the child has not been waited for, so the id is its own.
        unsafe { libc::kill(self.process.id() as libc::pid_t, signal) };
    }

    /// Waits for its end; how it was, and what it said.
    fn ended(mut self) -> (ExitStatus, String) {
        std::io::copy(&mut self.rows, &mut std::io::sink()).unwrap();
        let stderr = std::io::read_to_string(self.process.stderr.take().unwrap()).unwrap();
        (self.process.wait().unwrap(), stderr)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn start_cluster(options: &[(&str, &str)]) -> Cluster {
    let options: Options = options.iter().copied().chain([("heartbeat.interval", "50 ms")]).collect();
    Cluster::start(ClusterConfig { options, ..ClusterConfig::new(binary(), 1, 2) }).await.unwrap()
}

/// Waits until the answer at a path is as it is wanted.
async fn wait_for(cluster: &Cluster, path: &str, mut is_it: impl FnMut(&Value) -> bool) -> Value {
    let waiting = async {
        loop {
            let answer = cluster.get(path).await.unwrap();
            if is_it(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, waiting).await;
    answer.unwrap_or_else(|_| panic!("{path} did not become so:\n{}", cluster.logs()))
}

/// The only job.
async fn job(cluster: &Cluster) -> String {
    let jobs =
        wait_for(cluster, "/v1/jobs", |jobs| jobs["jobs"].as_array().is_some_and(|jobs| jobs.len() == 1));
    jobs.await["jobs"][0]["id"].as_str().unwrap().to_owned()
}

async fn is_canceled(cluster: &Cluster, job: &str) {
    wait_for(cluster, &format!("/v1/jobs/{job}/status"), |answer| answer["status"] == "CANCELED").await;
}

/// Runs a script with one job that has a result.
async fn submit(cluster: &Cluster, script: &str) -> String {
    let http = reqwest::Client::new();
    let answer = http
        .post(cluster.url("/v1/sql/jobs"))
        .json(&json!({ "script": script, "parallelism": 1 }))
        .send()
        .await;
    let accepted: Value = answer.unwrap().json().await.unwrap();
    accepted["jobid"].as_str().unwrap_or_else(|| panic!("{accepted}")).to_owned()
}

async fn shows_rows_until_ctrl_c(cluster: Option<&Cluster>) {
    let script = numbers("'rows-per-second' = '500',") + "SELECT n FROM numbers";
    let mut shell = Shell::start(&script, cluster);
    assert_eq!(shell.line(), "n");
    for n in 0..200 {
        assert_eq!(shell.line(), n.to_string());
    }
    if let Some(cluster) = cluster {
        let job = job(cluster).await;
        assert_eq!(cluster.get(&format!("/v1/jobs/{job}/status")).await.unwrap()["status"], "RUNNING");
    }
    shell.signal(libc::SIGINT);
    let (status, stderr) = shell.ended();
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("was asked to cancel and ended as CANCELED."), "{stderr}");
    if let Some(cluster) = cluster {
        is_canceled(cluster, &job(cluster).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_shown_in_order_as_they_come_until_ctrl_c() {
    shows_rows_until_ctrl_c(None).await;
    shows_rows_until_ctrl_c(Some(&start_cluster(&[]).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_shown_as_flink_names_them_and_a_limit_ends_an_endless_query() {
    let script = numbers("'rows-per-second' = '500',") + "SELECT COUNT(*) AS c FROM numbers";
    let mut shell = Shell::start(&script, None);
    assert_eq!(shell.line(), "op,c");
    let mut count: u64 = shell.line().strip_prefix("+I,").unwrap().parse().unwrap();
    for _ in 0..20 {
        assert_eq!(shell.line(), format!("-U,{count}"));
        let after: u64 = shell.line().strip_prefix("+U,").unwrap().parse().unwrap();
        assert!(after > count);
        count = after;
    }
    shell.signal(libc::SIGINT);
    assert_eq!(shell.ended().0.code(), Some(130));

    let endless = "CREATE TABLE endless (x INT) WITH ('connector' = 'datagen'); SELECT x IS NULL AS n FROM endless LIMIT 3";
    let mut shell = Shell::start(endless, None);
    assert_eq!([shell.line(), shell.line(), shell.line(), shell.line()], ["n", "FALSE", "FALSE", "FALSE"]);
    assert_eq!(shell.line(), "");
    let (status, stderr) = shell.ended();
    assert!(status.success(), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_slows_the_query_and_one_that_goes_ends_it() {
    let cluster = start_cluster(&[]).await;
    let mut shell = Shell::start(&(numbers("") + "SELECT n FROM numbers"), Some(&cluster));
    assert_eq!([shell.line(), shell.line()], ["n", "0"]);
    let job = job(&cluster).await;
    // The rows stand still while the time counted as waiting goes on.
    let mut stood = (0, 0);
    wait_for(&cluster, &format!("/v1/jobs/{job}"), |details| {
        let metrics = &details["vertices"][0]["metrics"];
        let rows = metrics["write-records"].as_u64().unwrap_or(0);
        let waited_ms = metrics["accumulated-backpressured-time"].as_u64().unwrap_or(0);
        if rows != stood.0 {
            stood = (rows, waited_ms);
        }
        rows > 0 && waited_ms > stood.1 + 300
    })
    .await;
    shell.signal(libc::SIGKILL);
    is_canceled(&cluster, &job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_have_what_has_come_and_a_query_that_nobody_pages_on_ends() {
    let cluster = start_cluster(&[("sql-gateway.operation.idle-timeout", "500 ms")]).await;
    let job =
        submit(&cluster, &(numbers("'rows-per-second' = '500',") + "SELECT n, 'x' AS x FROM numbers")).await;
    let mut path = format!("/v1/sql/jobs/{job}/result?token=0");
    let mut next = 0;
    while next < 300 {
        let page = cluster.get(&path).await.unwrap();
        assert_eq!(page["resultType"], "PAYLOAD");
        assert_eq!(page["columns"].as_array().unwrap().len(), 2);
        for row in page["data"].as_array().unwrap() {
            assert_eq!(row, &json!({ "kind": "INSERT", "fields": [next, "x"] }));
            next += 1;
        }
        path = page["nextResultUri"].as_str().unwrap().to_owned();
    }
    let stream = reqwest::get(cluster.url(&format!("/v1/sql/jobs/{job}/result?format=arrow"))).await.unwrap();
    assert_eq!(stream.status(), 409, "it is read page by page");
    is_canceled(&cluster, &job).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_rows_were_shown_fails_with_its_worker_and_says_why() {
    let cluster = start_cluster(&[]).await;
    let script = numbers("'rows-per-second' = '500',") + "SELECT n FROM numbers";
    let mut shell = Shell::start(&script, Some(&cluster));
    assert_eq!([shell.line(), shell.line()], ["n", "0"]);
    cluster.kill_worker(0);
    let (status, stderr) = shell.ended();
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("rows that were shown cannot be taken back"), "{stderr}");
}
