//! The engines that are compared, each run in a child process that prints a JSON line for each query.

use std::{
    fmt,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use arrow::array::RecordBatch;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use serde::{Deserialize, Serialize};
use thalweg::Client;
use thalweg_graph::Options;

use super::usage;
use crate::{
    cache,
    tpch::{self, Scale, TABLES},
    tpch_check::check_rows,
};

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// Ours, embedded.
    Thalweg,
    /// The DataFusion crate called directly, with its default settings.
    Datafusion,
    /// DuckDB from PyPI, in a virtual environment in the cache folder.
    Duckdb,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Thalweg => "thalweg",
            Engine::Datafusion => "datafusion",
            Engine::Duckdb => "duckdb",
        })
    }
}

/// What is run.
#[derive(Debug, Clone)]
pub struct Workload {
    /// How much data.
    pub scale: Scale,
    /// The folder with `TABLE.parquet`.
    pub folder: PathBuf,
    /// Threads, or target partitions.
    pub threads: u32,
    /// The queries, in order.
    pub queries: Vec<u32>,
    /// Options of ours.
    pub options: Options,
}

/// One query's cost, as a child prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueryCost {
    /// Which query.
    pub query: u32,
    /// Wall time.
    pub wall_ms: f64,
    /// CPU time of the process.
    pub cpu_ms: f64,
    /// The process's largest resident set so far.
    pub peak_bytes: u64,
}

/// Runs a workload in this process and prints a line for each query. Fails where an answer is wrong.
pub fn run_here(engine: Engine, workload: &Workload) -> Result<()> {
    // As many compute threads as a user would give: neither engine is helped by more.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workload.threads as usize)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match engine {
            Engine::Thalweg => run_thalweg(workload).await,
            Engine::Datafusion => run_datafusion(workload).await,
            Engine::Duckdb => bail!("DuckDB runs in Python"),
        }
    })
}

async fn run_thalweg(workload: &Workload) -> Result<()> {
    // As the binary does when it starts.
    thalweg::memory::keep_freed_buffers();
    let parallelism: Options = [("parallelism.default", workload.threads.to_string())].into_iter().collect();
    let mut client = Client::embedded(parallelism.overridden_by(&workload.options)).await?;
    client.sql(&tpch::create_tables(&workload.folder.display().to_string()).join(";\n")).await?;
    for &number in &workload.queries {
        let query = tpch::query(number, workload.scale)?;
        measure(number, workload.scale, async { client.sql(&query).await }).await?;
    }
    Ok(())
}

async fn run_datafusion(workload: &Workload) -> Result<()> {
    let config = SessionConfig::new().with_target_partitions(workload.threads as usize);
    let context = SessionContext::new_with_config(config);
    for table in TABLES {
        let file = workload.folder.join(table).with_extension("parquet");
        context.register_parquet(table, file.display().to_string(), ParquetReadOptions::default()).await?;
    }
    for &number in &workload.queries {
        let query = tpch::query(number, workload.scale)?;
        let run = async { Ok(context.sql(&query).await?.collect().await?) };
        measure(number, workload.scale, run).await?;
    }
    Ok(())
}

async fn measure(
    number: u32,
    scale: Scale,
    run: impl Future<Output = Result<Vec<RecordBatch>>>,
) -> Result<()> {
    let (start, before) = (Instant::now(), usage::own());
    let batches = run.await.with_context(|| format!("q{number}"))?;
    let (wall, after) = (start.elapsed(), usage::own());
    let cost = QueryCost {
        query: number,
        wall_ms: ms(wall),
        cpu_ms: ms(after.cpu - before.cpu),
        peak_bytes: after.peak_bytes,
    };
    check_rows(&batches, number, scale).with_context(|| format!("q{number}"))?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&cost)?)?;
    Ok(())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Whether an engine can run here; DuckDB is optional.
pub fn is_available(engine: Engine) -> bool {
    engine != Engine::Duckdb || duckdb_python().exists()
}

fn duckdb_python() -> PathBuf {
    cache::folder().join("duckdb/bin/python")
}

/// Runs a workload in a child process.
pub fn run_in_child(engine: Engine, workload: &Workload) -> Result<Vec<QueryCost>> {
    let mut command = match engine {
        Engine::Duckdb => duckdb_command(workload)?,
        _ => own_command(engine, workload)?,
    };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().expect("standard output is piped");
    let costs = BufReader::new(output)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<Result<Vec<QueryCost>>>();
    let status = child.wait()?;
    ensure!(status.success(), "{engine} ended with {status}");
    costs
}

fn own_command(engine: Engine, workload: &Workload) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("engine").arg(engine.to_string()).arg("--folder").arg(&workload.folder);
    command.args(["--scale", workload.scale.as_str(), "--threads", &workload.threads.to_string()]);
    command.arg("--queries").arg(join(&workload.queries));
    for (key, value) in &workload.options.0 {
        command.arg("-D").arg(format!("{key}={value}"));
    }
    Ok(command)
}

fn duckdb_command(workload: &Workload) -> Result<Command> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/duckdb_tpch.py");
    let mut command = Command::new(duckdb_python());
    command.arg(script).arg(&workload.folder).arg(workload.threads.to_string());
    for &number in &workload.queries {
        command.arg(format!("{number}:{}", tpch::query(number, workload.scale)?));
    }
    Ok(command)
}

fn join(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}
