//! Nexmark's queries over generated events into `blackhole`, each in a process of its own: events a second, events a second of
//! CPU time, memory; and beside it what making the events costs that a query reads.

use std::{
    io::{self, Write as _},
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use datafusion::{
    execution::TaskContext,
    physical_plan::{ExecutionPlan, metrics::Count},
};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thalweg::Client;
use thalweg_connectors::{BuiltinConnectors, ConnectorsConfig};
use thalweg_graph::{
    JobGraph, JobId, JobVertex, Options, RuntimeMode, source::Split, sql_error::SqlErrorCode,
};
use thalweg_plan::{
    Outcome, Session,
    exec::{ConnectorSourceExec, OpenSource as _, codec},
    session_config::session_state,
    stream::{Head, StreamFragment},
    target::Target,
};

use super::{report::Report, usage};
use crate::nexmark::Events;

/// Queries that keep so much or write so much that fewer events tell as much.
const HEAVY: [&str; 8] = ["q4", "q6", "q7", "q9", "q16", "q18", "q19", "q23"];

/// Events of one query.
const EVENTS: u64 = 10_000_000;
const EVENTS_HEAVY: u64 = 3_000_000;
/// As in the public benchmark.
const RATE: u64 = 10_000_000;

/// What is run.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The queries, in order.
    pub queries: Vec<String>,
    /// Events; by default as many as the query is heavy.
    pub events: Option<u64>,
    /// Subtasks of a vertex, and threads.
    pub parallelism: u32,
    /// Options of ours.
    pub options: Options,
}

impl Workload {
    fn events(&self, query: &str) -> u64 {
        self.events.unwrap_or(if HEAVY.contains(&query) { EVENTS_HEAVY } else { EVENTS })
    }

    fn options(&self) -> Options {
        let parallelism: Options =
            [("parallelism.default", self.parallelism.to_string())].into_iter().collect();
        parallelism.overridden_by(&self.options)
    }
}

/// One query's cost, as a child prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueryCost {
    /// `STREAMING`, or `BATCH` where the query cannot be run as a stream yet.
    pub mode: String,
    /// How many events there were.
    pub events: u64,
    /// Wall time.
    pub wall_s: f64,
    /// CPU time of the process.
    pub cpu_s: f64,
    /// The process's largest resident set.
    pub peak_bytes: u64,
    /// CPU time to make what the query reads, by one thread and into nothing.
    pub source_cpu_s: f64,
}

/// Runs the queries one after the other.
pub fn run(workload: &Workload) -> Result<Report> {
    let method = format!(
        "Generated events into `blackhole`, parallelism {}, each query in its own process; CPU by getrusage. `source` is making the \
         columns that the query reads, alone.",
        workload.parallelism
    );
    let columns = [
        "query",
        "mode",
        "M events",
        "wall s",
        "M events/s",
        "CPU s",
        "M events/CPU s",
        "source CPU s",
        "peak MB",
    ];
    let mut report = Report::new("Nexmark", &method, &columns);
    let mut figures = Vec::new();
    for name in &workload.queries {
        eprintln!("{name}");
        match run_in_child(name, workload) {
            Ok(cost) => {
                report.row(row(name, &cost));
                figures.push(json!({ "query": name, "cost": cost }));
            }
            Err(error) => {
                eprintln!("{name}: {error:#}");
                report.row([name.as_str(), "not run"].into_iter().chain([""; 7]));
                figures.push(json!({ "query": name, "error": format!("{error:#}") }));
            }
        }
    }
    report.figures =
        json!({ "parallelism": workload.parallelism, "options": workload.options.0, "queries": figures });
    Ok(report)
}

fn row(name: &str, cost: &QueryCost) -> Vec<String> {
    let events = cost.events as f64 / 1e6;
    let number = |value: f64| format!("{value:.2}");
    vec![
        name.to_owned(),
        cost.mode.to_lowercase(),
        number(events),
        number(cost.wall_s),
        number(events / cost.wall_s),
        number(cost.cpu_s),
        number(events / cost.cpu_s),
        number(cost.source_cpu_s),
        (cost.peak_bytes >> 20).to_string(),
    ]
}

fn run_in_child(query: &str, workload: &Workload) -> Result<QueryCost> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("nexmark-query").arg("--queries").arg(query);
    command.args(["--events", &workload.events(query).to_string()]);
    command.args(["--parallelism", &workload.parallelism.to_string()]);
    for (key, value) in &workload.options.0 {
        command.arg("-D").arg(format!("{key}={value}"));
    }
    // What a child says is shown as it is: without where it came from.
    command.env("RUST_LIB_BACKTRACE", "0");
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", errors.trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Runs one query in this process and prints its cost.
pub fn run_here(workload: &Workload) -> Result<()> {
    thalweg::memory::keep_freed_buffers();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workload.parallelism as usize)
        .enable_all()
        .build()?;
    let cost = runtime.block_on(async {
        let query = workload.queries.first().context("no query was given")?;
        measure(query, workload).await
    })?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&cost)?)?;
    Ok(())
}

async fn measure(query: &str, workload: &Workload) -> Result<QueryCost> {
    let folder = tempfile::tempdir()?;
    let events =
        Events { count: workload.events(query), rate: RATE, options: &[], folder: folder.path().to_owned() };
    events.write_side_table()?;
    let (graph, options) = planned(query, &events, workload).await?;
    let mut client = Client::embedded(options.clone()).await?;
    client.sql(&events.tables()?).await?;
    let (before, query) = events.query(query)?;
    client.sql(&before).await?;
    let (start, used) = (Instant::now(), usage::own());
    client.sql(&into_nothing(&query)).await?;
    let (wall_s, after) = (start.elapsed().as_secs_f64(), usage::own());
    let cpu_s = (after.cpu - used.cpu).as_secs_f64();
    Ok(QueryCost {
        mode: if graph.mode == RuntimeMode::Batch { "BATCH" } else { "STREAMING" }.to_owned(),
        events: events.count,
        wall_s,
        cpu_s,
        peak_bytes: after.peak_bytes,
        source_cpu_s: source_cpu_s(&graph, &options).await?,
    })
}

fn into_nothing(query: &str) -> String {
    format!("CREATE TABLE nothing WITH ('connector' = 'blackhole') AS {query}")
}

/// The query's job, as a stream if it can be one, and the options under which it is.
async fn planned(query: &str, events: &Events, workload: &Workload) -> Result<(JobGraph, Options)> {
    let streaming: Options = [("execution.runtime-mode", "STREAMING")].into_iter().collect();
    let as_stream = streaming.overridden_by(&workload.options());
    match job(query, events, &as_stream, workload.parallelism).await {
        Ok(graph) => Ok((graph, as_stream)),
        Err(error) if error.code == SqlErrorCode::Unsupported => {
            let batch: Options = [("execution.runtime-mode", "BATCH")].into_iter().collect();
            let as_batch = workload.options().overridden_by(&batch);
            let graph = job(query, events, &as_batch, workload.parallelism).await;
            Ok((graph.with_context(|| format!("as a stream: {error}"))?, as_batch))
        }
        Err(error) => Err(error.into()),
    }
}

async fn job(
    query: &str,
    events: &Events,
    options: &Options,
    parallelism: u32,
) -> Result<JobGraph, thalweg_graph::SqlError> {
    let internal =
        |error: anyhow::Error| thalweg_graph::SqlError::new(SqlErrorCode::Internal, format!("{error:#}"));
    let connectors =
        BuiltinConnectors::new(ConnectorsConfig::default()).map_err(|error| internal(error.into()))?;
    let mut session = Session::new(connectors, options.clone(), Target::Embedded { threads: parallelism });
    let (before, query) = events.query(query).map_err(internal)?;
    let script = format!("{};\n{before};\n{}", events.tables().map_err(internal)?, into_nothing(&query));
    for statement in Session::parse(&script)? {
        if let Outcome::Job(graph) = session.execute(&statement, JobId(1)).await? {
            return Ok(*graph);
        }
    }
    Err(internal(anyhow::anyhow!("the query made no job")))
}

/// Reads all that the sources of a job give, and does nothing with it.
async fn source_cpu_s(graph: &JobGraph, options: &Options) -> Result<f64> {
    let connectors = BuiltinConnectors::new(ConnectorsConfig::default())?;
    let runtime = thalweg_plan::connect::Connectors::runtime_env(connectors.as_ref());
    let context = session_state(options, runtime, 1).task_ctx();
    let used = usage::own();
    for vertex in &graph.vertices {
        for (source, splits) in sources(vertex, &context)? {
            let (context, skipped) = (Arc::clone(&context), Count::default());
            let mut rows = connectors.open(&source.scan, &splits, source.schema(), context, skipped)?;
            while let Some(batch) = rows.next().await {
                batch?;
            }
        }
    }
    Ok((usage::own().cpu - used.cpu).as_secs_f64())
}

/// The scans of a vertex that are read through connectors, with all of their splits.
fn sources(vertex: &JobVertex, context: &TaskContext) -> Result<Vec<(ConnectorSourceExec, Vec<Split>)>> {
    let plan = match vertex.fragment.mode {
        RuntimeMode::Batch => codec::decode(&vertex.fragment.plan, context)?,
        RuntimeMode::Streaming => match StreamFragment::decode(&vertex.fragment.plan)?.head {
            Head::Source { plan, .. } => codec::decode(&plan, context)?,
            Head::Edges { .. } | Head::Pair { .. } => return Ok(Vec::new()),
        },
    };
    let mut found = Vec::new();
    collect(&plan, &mut found);
    let splits = |scan: usize| {
        let of_scan = vertex.sources.iter().filter(move |source| source.scan as usize == scan);
        of_scan.flat_map(|source| source.partitions.iter().flatten().cloned()).collect()
    };
    Ok(found.into_iter().enumerate().map(|(scan, source)| (source, splits(scan))).collect())
}

fn collect(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<ConnectorSourceExec>) {
    found.extend(plan.downcast_ref::<ConnectorSourceExec>().cloned());
    plan.children().into_iter().for_each(|child| collect(child, found));
}
