//! How long checkpoints take while a sink takes a twentieth of what the job could give: barriers wait behind rows, and how many rows those are is
//! bounded.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{
    report::{Report, quantile},
    stream_job::{StreamJob, UNLIMITED},
};
use crate::processes::ClusterConfig;

const PARALLELISM: u32 = 2;
const WARM_UP: Duration = Duration::from_secs(5);
/// Checkpoints that are waited for, and for how long at most.
const CHECKPOINTS: u64 = 10;
const TIMEOUT: Duration = Duration::from_secs(120);

/// A sink that takes all, then one that takes a `slower`th of that.
pub async fn run(mut config: ClusterConfig, slower: u64) -> Result<Report> {
    for (name, value) in [("execution.checkpointing.interval", "1 s"), ("heartbeat.interval", "200 ms")] {
        config.options.0.insert(name.to_owned(), value.to_owned());
    }
    let method = format!(
        "Random keys, counted, into a blackhole; one worker of two slots; checkpoints every second; the sink {slower} times too slow."
    );
    let columns =
        ["sink", "rows/s in", "rows/s out", "checkpoint p50 ms", "max ms", "alignment max ms", "state MB"];
    let mut report = Report::new("Checkpoints under backpressure", &method, &columns);
    let full = measure(config.clone(), None).await?;
    let slow = measure(config, Some((full.rows_out / slower as f64 / f64::from(PARALLELISM)) as u64)).await?;
    for (sink, measured) in [("takes all", &full), ("too slow", &slow)] {
        let cells = [
            measured.rows_in,
            measured.rows_out,
            quantile(&measured.durations_ms, 0.5),
            quantile(&measured.durations_ms, 1.0),
            measured.alignment_ms,
            measured.state_mb,
        ];
        report.row([sink.to_owned()].into_iter().chain(cells.map(|cell| format!("{cell:.0}"))));
    }
    report.figures = json!({ "full": full, "slow": slow });
    Ok(report)
}

#[derive(serde::Serialize)]
struct Measured {
    rows_in: f64,
    rows_out: f64,
    durations_ms: Vec<f64>,
    alignment_ms: f64,
    state_mb: f64,
}

async fn measure(config: ClusterConfig, sink_rate: Option<u64>) -> Result<Measured> {
    let rate =
        sink_rate.map_or(String::new(), |rate| format!(", 'sink.rows-per-second' = '{}'", rate.max(1)));
    let script = format!(
        "CREATE TABLE numbers (k BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '{UNLIMITED}', 'fields.k.min' = '0', 'fields.k.max' = '99999'); \
         CREATE TABLE slow (k BIGINT, n BIGINT) WITH ('connector' = 'blackhole'{rate}); \
         INSERT INTO slow SELECT k, COUNT(*) FROM numbers GROUP BY k"
    );
    let job = StreamJob::start(config, PARALLELISM, &script).await?;
    tokio::time::sleep(WARM_UP).await;
    let (rows_in, rows_out) = job.rates(WARM_UP).await?;
    let checkpoints = job
        .until("ten checkpoints", TIMEOUT, async |job| {
            let done = job.checkpoints().await?;
            Ok(done.first().is_some_and(|newest| newest["id"].as_u64() >= Some(CHECKPOINTS)).then_some(done))
        })
        .await?;
    ensure!(!checkpoints.is_empty(), "no checkpoint is shown");
    let numbers = |name: &str| -> Vec<f64> {
        checkpoints.iter().filter_map(|checkpoint| checkpoint[name].as_f64()).collect()
    };
    let measured = Measured {
        rows_in,
        rows_out,
        durations_ms: numbers("end_to_end_duration"),
        alignment_ms: quantile(&numbers("alignment_duration_max"), 1.0),
        state_mb: quantile(&numbers("state_size"), 1.0) / 1e6,
    };
    job.cancel().await?;
    Ok(measured)
}
