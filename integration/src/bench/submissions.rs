//! How many scripts a second are accepted, each kept by a majority of JobManagers on their disks before it is acknowledged, and what the
//! leader's memory and log come to meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::report::Report;
use crate::processes::{Cluster, ClusterConfig};

/// What is submitted: a job that waits for slots, since there is no worker.
const SCRIPT: &str = "CREATE TABLE t (n BIGINT) WITH ('connector' = 'blackhole'); INSERT INTO t VALUES (1);";
/// Lists of all jobs that are asked for.
const LISTS: usize = 11;
/// Time for a JobManager to answer, whoever leads.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for the last jobs to end, and pause between two looks.
const END_TIMEOUT: Duration = Duration::from_secs(120);
const END_PAUSE: Duration = Duration::from_millis(500);
/// Pause before another one is asked.
const PAUSE: Duration = Duration::from_millis(20);
/// Looks at memory and log.
const LOOKS: u64 = 20;

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Submissions {
    /// Scripts in all.
    pub scripts: u64,
    /// Clients that send one after the other.
    pub clients: usize,
    /// Whether each job is cancelled at once, so that it ends.
    pub cancel: bool,
}

/// Measures it on a quorum of three.
pub async fn run(mut config: ClusterConfig, workload: Submissions) -> Result<Report> {
    config.members = 3;
    let most = u32::MAX.to_string();
    config.options.0.insert("jobmanager.open-jobs.max".to_owned(), most);
    let history = tempfile::Builder::new().prefix("thalweg-history-").tempdir()?;
    let archive = format!("file://{}", history.path().display());
    config.options.0.insert("jobmanager.archive.fs.dir".to_owned(), archive);
    let cluster = Arc::new(Cluster::start(config).await?);
    let leader = cluster.leader(&[]).await?;
    let addresses: Vec<String> = (0..3).map(|member| cluster.member_address(member)).collect();
    let (sent, acknowledged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let latencies = Arc::new(Mutex::new(Vec::<Duration>::new()));
    let start = Instant::now();
    let clients: Vec<_> = (0..workload.clients)
        .map(|_| {
            let http = reqwest::Client::new();
            let client = Client { addresses: addresses.clone(), member: leader, http, workload };
            tokio::spawn(client.run(sent.clone(), acknowledged.clone(), latencies.clone()))
        })
        .collect();
    let method = format!(
        "{} scripts from {} clients to three JobManagers on one disk{}.",
        workload.scripts,
        workload.clients,
        if workload.cancel { ", each job cancelled at once" } else { "" }
    );
    let columns = ["acknowledged", "s", "a second", "leader's memory MB", "its folder MB"];
    let mut report = Report::new("submissions", &method, &columns);
    let mut looked = 0;
    while looked < workload.scripts {
        let next = looked + workload.scripts.div_ceil(LOOKS);
        while acknowledged.load(Ordering::Relaxed) < next.min(workload.scripts) {
            if clients.iter().all(tokio::task::JoinHandle::is_finished) {
                // One of them says why.
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if acknowledged.load(Ordering::Relaxed) < next.min(workload.scripts) {
            break;
        }
        looked = acknowledged.load(Ordering::Relaxed);
        let elapsed = start.elapsed().as_secs_f64();
        let memory =
            cluster.with_job_managers(|nodes| nodes[leader].memory_bytes("VmRSS")).unwrap_or_default();
        let folder = cluster.member_folder_bytes(leader)?;
        let mb = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        let rate = format!("{:.0}", looked as f64 / elapsed);
        report.row([looked.to_string(), format!("{elapsed:.1}"), rate, mb(memory), mb(folder)]);
    }
    for client in clients {
        client.await?.with_context(|| cluster.logs())?;
    }
    let mut latencies = std::mem::take(&mut *latencies.lock());
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    let (p50, p99) = (at(0.5), at(0.99));
    if workload.cancel {
        until_all_have_ended(&cluster).await?;
    }
    let mut lists_ms = Vec::new();
    let mut listed = 0;
    for _ in 0..LISTS {
        let list = Instant::now();
        let jobs = cluster.get("/v1/jobs/overview").await?;
        lists_ms.push(list.elapsed().as_secs_f64() * 1000.0);
        listed = jobs["jobs"].as_array().context("there are jobs")?.len();
    }
    lists_ms.sort_by(f64::total_cmp);
    let list_ms = lists_ms[LISTS / 2];
    let files = std::fs::read_dir(history.path())?.count();
    report.figures = json!({
        "p50 ms": p50, "p99 ms": p99, "jobs listed": listed, "list p50 ms": list_ms, "history files": files,
    });
    eprintln!("{}", report.figures);
    Ok(report)
}

/// Waits until no job is open: those that end while they are listed are not what is measured.
async fn until_all_have_ended(cluster: &Cluster) -> Result<()> {
    let start = Instant::now();
    loop {
        let jobs = cluster.get("/v1/jobs/overview").await?;
        let jobs = jobs["jobs"].as_array().context("there are jobs")?;
        if jobs.iter().all(|job| job["end-time"] != -1) {
            return Ok(());
        }
        ensure!(start.elapsed() < END_TIMEOUT, "jobs that were cancelled do not end");
        tokio::time::sleep(END_PAUSE).await;
    }
}

struct Client {
    /// Where JobManagers are.
    addresses: Vec<String>,
    /// Whom it asks.
    member: usize,
    http: reqwest::Client,
    workload: Submissions,
}

impl Client {
    async fn run(
        mut self,
        sent: Arc<AtomicU64>,
        acknowledged: Arc<AtomicU64>,
        latencies: Arc<Mutex<Vec<Duration>>>,
    ) -> Result<()> {
        loop {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            if number >= self.workload.scripts {
                return Ok(());
            }
            let start = Instant::now();
            let body = json!({ "script": SCRIPT, "idempotencyKey": format!("script {number}") });
            let answer = self.ask(Method::POST, "/v1/sql/jobs", &body).await?;
            latencies.lock().push(start.elapsed());
            let job = answer["jobid"].as_str().context("an accepted script has a job")?;
            if self.workload.cancel {
                self.ask(Method::PATCH, &format!("/v1/jobs/{job}?mode=cancel"), &Value::Null).await?;
            }
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Asks until a JobManager answers: another one may lead meanwhile. With its key a script runs once, however often it is sent.
    async fn ask(&mut self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let url = format!("http://{}{path}", self.addresses[self.member]);
            let call = self.http.request(method.clone(), url);
            let call = if body.is_null() { call } else { call.json(body) };
            let problem = match call.send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer.json().await?),
                Ok(answer) if answer.status() != StatusCode::SERVICE_UNAVAILABLE => {
                    bail!("{path}: {}: {}", answer.status(), answer.text().await?);
                }
                Ok(answer) => anyhow!("{path}: {}", answer.status()),
                Err(error) => error.into(),
            };
            ensure!(Instant::now() < deadline, problem);
            self.member = (self.member + 1) % self.addresses.len();
            tokio::time::sleep(PAUSE).await;
        }
    }
}
