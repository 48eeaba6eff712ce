//! How long a stream with much state takes after `kill -9` of one of its workers until it is as fast as before.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{
    report::Report,
    stream_job::{LOOK_INTERVAL, StreamJob, UNLIMITED},
};
use crate::processes::ClusterConfig;

/// One slot each; one worker is there for the one that dies.
pub const WORKERS: usize = 3;
const PARALLELISM: u32 = 2;
const TIMEOUT: Duration = Duration::from_secs(300);
/// The rate before is measured over this time, the one after over windows of this length.
const BEFORE: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_millis(500);
/// This much of the rate before counts as full speed.
const FULL_SPEED: f64 = 0.9;

/// Counts random keys until so much state has gone into a checkpoint, then kills a worker.
pub async fn run(mut config: ClusterConfig, state_mb: u64, keys: u64) -> Result<Report> {
    for (name, value) in [
        ("taskmanager.memory.process.size", "6 gb"),
        ("execution.checkpointing.interval", "5 s"),
        ("heartbeat.interval", "100 ms"),
        ("restart-strategy.exponential-delay.initial-backoff", "50 ms"),
    ] {
        config.options.0.insert(name.to_owned(), value.to_owned());
    }
    let script = format!(
        "CREATE TABLE numbers (k BIGINT, v BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '{UNLIMITED}', 'fields.k.min' = '0', 'fields.k.max' = '{}', \
           'fields.v.min' = '0', 'fields.v.max' = '1000'); \
         CREATE TABLE counts (k BIGINT, n BIGINT, s BIGINT, least BIGINT) WITH ('connector' = 'blackhole'); \
         INSERT INTO counts SELECT k, COUNT(*), SUM(v), MIN(v) FROM numbers GROUP BY k",
        keys - 1
    );
    let job = StreamJob::start(config, PARALLELISM, &script).await?;
    let checkpoint = job
        .until("a checkpoint with the state", TIMEOUT, async |job| {
            let newest = job.checkpoints().await?.into_iter().next();
            Ok(newest.filter(|newest| newest["state_size"].as_u64() >= Some(state_mb << 20)))
        })
        .await?;
    // What comes out: a source fills queues while operators take their state back.
    let (_, before) = job.rates(BEFORE).await?;
    let restarts = restarts(&job).await?;
    let killed = Instant::now();
    let victim = used_worker(&job).await?;
    job.cluster.kill_worker(victim);
    job.until("the loss is noticed", TIMEOUT, async |job| {
        Ok((restarts_or_failing(job, restarts).await?).then_some(()))
    })
    .await?;
    let detected = killed.elapsed();
    job.until("it runs again", TIMEOUT, async |job| {
        Ok((job.get("").await?["state"] == "RUNNING").then_some(()))
    })
    .await?;
    let mut seen = vec![(killed.elapsed(), job.rows().await?.1)];
    let full = loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = (killed.elapsed(), job.rows().await?.1);
        seen.push(now);
        let since = seen.iter().rfind(|(at, _)| *at + WINDOW <= now.0);
        if let Some((at, rows)) = since {
            let rate = now.1.saturating_sub(*rows) as f64 / (now.0 - *at).as_secs_f64();
            if rate >= before * FULL_SPEED {
                break now.0;
            }
        }
        anyhow::ensure!(now.0 < TIMEOUT, "it does not get as fast as before\n{}", job.cluster.logs());
    };
    let state_mb = checkpoint["state_size"].as_f64().context("state has a size")? / 1e6;
    let method = format!(
        "COUNT, SUM, MIN of {keys} random keys, three workers of one slot, parallelism {PARALLELISM}, state in memory, checkpoints every 5 s on a local \
         disk; full speed is {:.0} % of the rate before, over {} ms.",
        FULL_SPEED * 100.0,
        WINDOW.as_millis()
    );
    let columns = [
        "state MB",
        "rows/s out before",
        "killed to detected ms",
        "detected to full speed ms",
        "checkpoint ms",
    ];
    let mut report = Report::new("Restart after kill -9 of a worker", &method, &columns);
    let cells = [
        state_mb,
        before,
        detected.as_secs_f64() * 1e3,
        (full - detected).as_secs_f64() * 1e3,
        checkpoint["end_to_end_duration"].as_f64().unwrap_or_default(),
    ];
    report.row(cells.map(|cell| format!("{cell:.0}")));
    report.figures = json!({ "state_mb": cells[0], "rate_before": cells[1], "detected_ms": cells[2], "full_speed_ms": cells[3] });
    job.cancel().await?;
    Ok(report)
}

async fn restarts(job: &StreamJob) -> Result<u64> {
    Ok(job.get("").await?["restarts"].as_u64().unwrap_or_default())
}

async fn restarts_or_failing(job: &StreamJob, before: u64) -> Result<bool> {
    let details = job.get("").await?;
    Ok(details["restarts"].as_u64() > Some(before) || details["state"] == "RESTARTING")
}

/// The position of a worker that runs a subtask.
async fn used_worker(job: &StreamJob) -> Result<usize> {
    let details = job.get("").await?;
    let vertex = details["vertices"][0]["id"].as_str().context("there is a vertex")?.to_owned();
    let vertex = job.get(&format!("/vertices/{vertex}")).await?;
    let host =
        vertex["subtasks"][0]["taskmanager-id"].as_str().context("a subtask runs somewhere")?.to_owned();
    let workers = job.cluster.get("/v1/taskmanagers").await?;
    let workers = workers["taskmanagers"].as_array().context("there are workers")?;
    let port = workers
        .iter()
        .find(|worker| worker["id"] == host.as_str())
        .and_then(|worker| worker["dataPort"].as_u64());
    let port = port.context("the worker is known")?;
    let found =
        job.cluster.with_workers(|workers| workers.iter().position(|worker| listens(worker.pid, port)));
    found.context("one of the processes is the worker")
}

/// Whether a process has a socket that listens on a port.
fn listens(pid: u32, port: u64) -> bool {
    let sockets = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let inodes: Vec<String> = sockets
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (_, hex) = fields.get(1)?.rsplit_once(':')?;
            let is_it = u64::from_str_radix(hex, 16).ok()? == port && *fields.get(3)? == "0A";
            is_it.then(|| format!("socket:[{}]", fields.get(9).unwrap_or(&"")))
        })
        .collect();
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .any(|target| inodes.iter().any(|inode| target.to_string_lossy() == inode.as_str()))
}
