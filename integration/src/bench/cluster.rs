//! TPC-H on two worker processes of one slot each, beside the embedded engine at two slots.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;
use thalweg::Client;
use thalweg_graph::Options;

use super::{
    engine::{Engine, QueryCost, Workload, run_in_child},
    report::{Report, median},
};
use crate::{
    processes::{Cluster, ClusterConfig},
    tpch, tpch_check,
};

/// What the processes of a cluster used.
#[derive(Debug, Clone, Copy)]
struct Used {
    wall: Duration,
    cpu: Duration,
}

/// Runs the workload on both, interleaved, for some rounds.
pub async fn run(config: ClusterConfig, workload: &Workload, rounds: u32) -> Result<Report> {
    let mut embedded: Vec<Vec<QueryCost>> = Vec::new();
    let mut distributed: Vec<Vec<Used>> = Vec::new();
    let mut peak_bytes = 0;
    for round in 0..rounds {
        eprintln!("round {}, embedded", round + 1);
        embedded.push(run_in_child(Engine::Thalweg, workload)?);
        eprintln!("round {}, cluster", round + 1);
        let cluster = Cluster::start(config.clone()).await?;
        distributed.push(run_on(&cluster, workload).await.with_context(|| cluster.logs())?);
        let peaks = cluster.with_workers(|workers| {
            workers.iter().filter_map(|worker| worker.memory_bytes("VmHWM")).max().unwrap_or_default()
        });
        peak_bytes = peak_bytes.max(peaks);
    }
    Ok(report(&embedded, &distributed, peak_bytes, workload, rounds))
}

async fn run_on(cluster: &Cluster, workload: &Workload) -> Result<Vec<Used>> {
    let parallelism: Options = [("parallelism.default", workload.threads.to_string())].into_iter().collect();
    let mut client = Client::remote(&cluster.address, parallelism.overridden_by(&workload.options)).await?;
    client.sql(&tpch::create_tables(&workload.folder.display().to_string()).join(";\n")).await?;
    let mut used = Vec::new();
    for &number in &workload.queries {
        let query = tpch::query(number, workload.scale)?;
        let (start, before) = (Instant::now(), cpu(cluster));
        let batches = client.sql(&query).await.with_context(|| format!("q{number}"))?;
        used.push(Used { wall: start.elapsed(), cpu: cpu(cluster).saturating_sub(before) });
        tpch_check::check_rows(&batches, number, workload.scale).with_context(|| format!("q{number}"))?;
    }
    Ok(used)
}

fn cpu(cluster: &Cluster) -> Duration {
    let workers: Duration =
        cluster.with_workers(|workers| workers.iter().filter_map(|worker| worker.cpu_time()).sum());
    workers + cluster.with_job_manager(|node| node.cpu_time()).unwrap_or_default()
}

fn report(
    embedded: &[Vec<QueryCost>],
    distributed: &[Vec<Used>],
    peak_bytes: u64,
    workload: &Workload,
    rounds: u32,
) -> Report {
    let method = format!(
        "Scale factor {}; embedded with {} threads, two workers of one slot; medians of {rounds} interleaved rounds.",
        workload.scale.as_str(),
        workload.threads,
    );
    let columns = ["query", "embedded wall s", "cluster wall s", "ratio", "embedded CPU s", "cluster CPU s"];
    let mut report = Report::new("TPC-H on two worker processes", &method, &columns);
    let mut totals = [0.0; 4];
    for (position, number) in workload.queries.iter().enumerate() {
        let of_embedded = |value: fn(&QueryCost) -> f64| {
            median(&embedded.iter().map(|round| value(&round[position]) / 1000.0).collect::<Vec<_>>())
        };
        let of_cluster = |value: fn(&Used) -> Duration| {
            median(&distributed.iter().map(|round| value(&round[position]).as_secs_f64()).collect::<Vec<_>>())
        };
        let figures = [
            of_embedded(|cost| cost.wall_ms),
            of_cluster(|used| used.wall),
            of_embedded(|cost| cost.cpu_ms),
            of_cluster(|used| used.cpu),
        ];
        totals.iter_mut().zip(figures).for_each(|(total, figure)| *total += figure);
        report.row(cells(format!("q{number}"), figures));
    }
    report.row(cells("total".to_owned(), totals));
    report.figures = json!({
        "scale": workload.scale.as_str(),
        "embedded_wall_s": totals[0],
        "cluster_wall_s": totals[1],
        "wall_ratio": totals[1] / totals[0],
        "embedded_cpu_s": totals[2],
        "cluster_cpu_s": totals[3],
        "worker_peak_bytes": peak_bytes,
    });
    report.method += &format!(" Largest worker: {} MB.", peak_bytes >> 20);
    report
}

fn cells(name: String, [embedded_wall, cluster_wall, embedded_cpu, cluster_cpu]: [f64; 4]) -> Vec<String> {
    let ratio = cluster_wall / embedded_wall;
    let seconds = |seconds: f64| format!("{seconds:.3}");
    vec![
        name,
        seconds(embedded_wall),
        seconds(cluster_wall),
        format!("{ratio:.2}"),
        seconds(embedded_cpu),
        seconds(cluster_cpu),
    ]
}
