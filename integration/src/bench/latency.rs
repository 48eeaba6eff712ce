//! How long a small query takes on a warm cluster, from its submission to its rows.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use thalweg::Client;
use thalweg_graph::Options;

use super::report::{Report, quantile};
use crate::{
    processes::{Cluster, ClusterConfig},
    tpch::{Scale, create_tables},
    tpch_data,
};

const WARM_UP: u32 = 20;

/// Asks `repetitions` times for the number of rows of a table of 25.
pub async fn run(config: ClusterConfig, repetitions: u32) -> Result<Report> {
    let cluster = Cluster::start(config).await?;
    let options: Options = [("parallelism.default", "1")].into_iter().collect();
    let mut client = Client::remote(&cluster.address, options).await?;
    let folder = tpch_data::folder(Scale::Hundredth)?;
    client.sql(&create_tables(&folder.display().to_string()).join(";\n")).await?;
    let mut times_ms = Vec::new();
    for repetition in 0..WARM_UP + repetitions {
        let start = Instant::now();
        let batches = client.sql("SELECT count(*) FROM nation").await.with_context(|| cluster.logs())?;
        let time_ms = start.elapsed().as_secs_f64() * 1000.0;
        ensure!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>() == 1, "one row was expected");
        if repetition >= WARM_UP {
            times_ms.push(time_ms);
        }
    }
    let method = format!("`SELECT count(*)` on a table of 25 rows, one worker process, {repetitions} times.");
    let mut report =
        Report::new("Latency of a warm cluster", &method, &["p50 ms", "p90 ms", "p99 ms", "max ms"]);
    let quantiles = [0.5, 0.9, 0.99, 1.0].map(|fraction| quantile(&times_ms, fraction));
    report.row(quantiles.map(|time| format!("{time:.1}")));
    report.figures = json!({ "p50_ms": quantiles[0], "p90_ms": quantiles[1], "p99_ms": quantiles[2], "max_ms": quantiles[3] });
    Ok(report)
}
