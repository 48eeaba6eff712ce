//! State larger than memory: an updating `COUNT` over many keys in one worker of two gigabytes, with checkpoints; what it holds, how fast
//! it is, and what checkpoints cost while keys are new, then while few of many change.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use thalweg::{Client, Execution};
use thalweg_graph::{JobId, Options};
use thalweg_plan::Session;

use super::report::Report;
use crate::processes::{Cluster, ClusterConfig};

/// Slots of the worker, and subtasks of a vertex.
pub const PARALLELISM: u32 = 2;
/// All the memory of the worker.
const MEMORY: &str = "2gb";
/// Keys that change again and again when all are there.
const HOT_KEYS: u64 = 100_000;
/// Rows of those.
const HOT_ROWS: u64 = 150_000_000;
/// How often the job is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The job is given up after this.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// Spreads keys: with it, numbers below a power of ten are visited in no order, each once.
const STRIDE: u64 = 2_654_435_761;

/// What is run.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Different keys: a power of ten.
    pub keys: u64,
    /// Options of ours.
    pub options: Options,
}

/// Counts the keys, then changes a few of them.
pub async fn run(mut config: ClusterConfig, workload: &Workload) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let defaults: Options = [
        ("taskmanager.memory.process.size", MEMORY.to_owned()),
        ("state.backend.type", "lsm".to_owned()),
        ("execution.checkpointing.interval", "10 s".to_owned()),
        ("execution.checkpointing.dir", format!("file://{}", folder.path().display())),
        ("parallelism.default", PARALLELISM.to_string()),
        ("restart-strategy.type", "none".to_owned()),
    ]
    .into_iter()
    .collect();
    let options = defaults.overridden_by(&workload.options);
    config.options = config.options.overridden_by(&options);
    let cluster = Cluster::start(config).await?;
    let mut client = Client::remote(&cluster.address, options.clone()).await?;
    let job = start(&mut client, workload.keys).await?;
    let method = format!(
        "`SELECT k, COUNT(*) GROUP BY k` over {} keys in no order, each once, then {HOT_ROWS} rows of {HOT_KEYS} of them; \
         one worker of {MEMORY}, parallelism {PARALLELISM}, {}.",
        workload.keys,
        options.0.iter().map(|(key, value)| format!("`{key}={value}`")).collect::<Vec<_>>().join(" ")
    );
    let columns = [
        "after s",
        "M rows",
        "M rows/s",
        "RSS MB",
        "checkpoint",
        "its ms",
        "stands still ms",
        "state MB",
        "stored MB",
    ];
    let mut report = Report::new("State", &method, &columns);
    let looks = watch(&cluster, job).await.with_context(|| cluster.logs())?;
    for pair in looks.windows(2) {
        let (before, look) = (&pair[0], &pair[1]);
        let rate = (look.rows.saturating_sub(before.rows)) as f64 / (look.after_s - before.after_s) / 1e6;
        let checkpoint = &look.checkpoint;
        let number = |name: &str| checkpoint[name].as_u64().unwrap_or_default();
        let cells = [
            format!("{:.0}", look.after_s),
            format!("{:.1}", look.rows as f64 / 1e6),
            format!("{rate:.2}"),
            (look.resident_bytes >> 20).to_string(),
            number("id").to_string(),
            number("end_to_end_duration").to_string(),
            number("sync_duration_max").to_string(),
            (number("state_size") >> 20).to_string(),
            (number("checkpointed_size") >> 20).to_string(),
        ];
        report.row(cells);
    }
    let figures = looks.iter().map(|look| {
        json!({ "after_s": look.after_s, "rows": look.rows, "resident_bytes": look.resident_bytes, "checkpoint": look.checkpoint })
    });
    report.figures =
        json!({ "keys": workload.keys, "options": options.0, "looks": figures.collect::<Vec<_>>() });
    Ok(report)
}

async fn start(client: &mut Client, keys: u64) -> Result<JobId> {
    ensure!(keys >= 10 && keys.ilog10() == (keys - 1).ilog10() + 1, "the number of keys is a power of ten");
    let rows = keys + HOT_ROWS;
    let tables = format!(
        "SET 'execution.runtime-mode' = 'STREAMING'; \
         CREATE TABLE numbers (id BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '{rows}', \
           'fields.id.kind' = 'sequence', 'fields.id.start' = '0', 'fields.id.end' = '{}'); \
         CREATE TABLE counts (k BIGINT, n BIGINT) WITH ('connector' = 'blackhole')",
        rows - 1,
    );
    client.sql(&tables).await?;
    let insert = format!(
        "INSERT INTO counts SELECT k, COUNT(*) FROM (SELECT \
           MOD(CASE WHEN id < {keys} THEN id ELSE MOD(id, {}) END * {STRIDE}, {keys}) AS k FROM numbers) GROUP BY k",
        HOT_KEYS.min(keys)
    );
    let statement = Session::parse(&insert)?.into_iter().next().context("there is a statement")?;
    match client.execute(&statement).await? {
        Execution::Job { job, .. } => Ok(job),
        _ => bail!("`{insert}` made no job"),
    }
}

/// The job at one moment.
struct Look {
    after_s: f64,
    rows: u64,
    resident_bytes: u64,
    checkpoint: Value,
}

async fn watch(cluster: &Cluster, job: JobId) -> Result<Vec<Look>> {
    let start = Instant::now();
    let mut looks = Vec::new();
    loop {
        let details = cluster.get(&format!("/v1/jobs/{job}")).await?;
        let checkpoints = cluster.get(&format!("/v1/jobs/{job}/checkpoints")).await?;
        let vertices = details["vertices"].as_array().cloned().unwrap_or_default();
        let read = vertices.iter().filter_map(|vertex| vertex["metrics"]["read-records"].as_u64());
        let resident =
            cluster.with_workers(|workers| workers.first().and_then(|worker| worker.memory_bytes("VmRSS")));
        looks.push(Look {
            after_s: start.elapsed().as_secs_f64(),
            rows: read.max().unwrap_or_default(),
            resident_bytes: resident.unwrap_or_default(),
            checkpoint: checkpoints["latest"]["completed"].clone(),
        });
        if let Some(look) = looks.last() {
            eprintln!("{:.0} s: {} rows, {} MB", look.after_s, look.rows, look.resident_bytes >> 20);
        }
        match details["state"].as_str() {
            Some("FINISHED") => return Ok(looks),
            Some("FAILED" | "CANCELED") => bail!("the job ended: {}", details["failure"]),
            _ => ensure!(start.elapsed() < TIMEOUT, "the job has not ended in {} s", TIMEOUT.as_secs()),
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
