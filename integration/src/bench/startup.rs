//! How long JobManager and worker take from their start until they are ready, and what they occupy then.

use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::report::{Report, median};
use crate::processes::{Cluster, ClusterConfig};

/// Starts a JobManager and then a worker, `repetitions` times. `config` names the binary; its workers are not started.
pub async fn run(mut config: ClusterConfig, repetitions: u32) -> Result<Report> {
    config.hosts.clear();
    let (mut job_manager_ms, mut worker_ms) = (Vec::new(), Vec::new());
    let (mut job_manager_bytes, mut worker_bytes) = (Vec::new(), Vec::new());
    for _ in 0..repetitions {
        let start = Instant::now();
        let cluster = Cluster::start(config.clone()).await?;
        job_manager_ms.push(start.elapsed().as_secs_f64() * 1000.0);
        let start = Instant::now();
        cluster.add_worker("127.0.0.1")?;
        cluster.wait_for_workers(1).await?;
        worker_ms.push(start.elapsed().as_secs_f64() * 1000.0);
        job_manager_bytes.push(
            cluster.with_job_manager(|node| node.memory_bytes("VmRSS")).context("the JobManager died")?
                as f64,
        );
        let worker = cluster.with_workers(|workers| workers[0].memory_bytes("VmRSS"));
        worker_bytes.push(worker.context("the worker died")? as f64);
    }
    let method = format!(
        "From the start of the process until `/v1/overview` answers (JobManager) or counts it (worker); medians of {repetitions}."
    );
    let mut report = Report::new("Start", &method, &["process", "ready ms", "memory at rest MB"]);
    let rows = [("JobManager", job_manager_ms, job_manager_bytes), ("worker", worker_ms, worker_bytes)];
    let mut figures = serde_json::Map::new();
    for (process, ms, bytes) in rows {
        let (ms, bytes) = (median(&ms), median(&bytes));
        report.row([process.to_owned(), format!("{ms:.0}"), format!("{:.1}", bytes / f64::from(1 << 20))]);
        figures.insert(process.to_owned(), json!({ "ready_ms": ms, "rest_bytes": bytes }));
    }
    report.figures = figures.into();
    Ok(report)
}
