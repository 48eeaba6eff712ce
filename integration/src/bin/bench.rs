//! The benchmarks' command line: prints tables in Markdown, writes JSON with `--json FILE`. Measures what it finds beside itself, so
//! build with `--release`; `make bench` does.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use thalweg::large_buffers::LargeBuffers;
use thalweg_graph::Options;
use thalweg_integration::{
    bench::{
        self,
        engine::{Engine, Workload},
        report::{self, Report},
        submissions::Submissions,
        window_latency::WindowLatency,
    },
    drill::{self, Drill},
    exactly_once::{self, ExactlyOnceDrill, Fault},
    network_drill::{self, Fault as NetworkFault, NetworkDrill},
    nexmark,
    processes::{Binary, ClusterConfig},
    quorum_drill::{self, Fault as QuorumFault, QuorumDrill},
    stream_drill::{self, StreamDrill},
    tpch::{QUERIES, Scale},
    tpch_data,
};

/// As in the binary that is measured.
#[global_allocator]
static ALLOCATOR: LargeBuffers = LargeBuffers;

/// Measures Thalweg
#[derive(Debug, Parser)]
struct Cli {
    /// Writes the figures to this file as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes TPC-H data and prints its folder
    Data {
        #[arg(long, default_value = "1", value_parser = scale)]
        scale: Scale,
    },
    /// TPC-H embedded, beside DataFusion with its defaults and DuckDB (`make duckdb` installs it)
    Tpch {
        #[command(flatten)]
        workload: WorkloadArgs,
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        #[arg(long, value_delimiter = ',', default_values_t = [Engine::Thalweg, Engine::Datafusion, Engine::Duckdb])]
        engines: Vec<Engine>,
    },
    /// TPC-H on two worker processes of half as many slots as threads, beside embedded
    Cluster {
        #[command(flatten)]
        workload: WorkloadArgs,
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// A small query on a warm cluster, from submission to rows
    Latency {
        #[arg(long, default_value_t = 200)]
        repetitions: u32,
    },
    /// The control plane alone: jobs of many tasks on workers that do nothing
    Scheduling {
        #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 2_000, 10_000])]
        tasks: Vec<u32>,
    },
    /// Start to ready and memory at rest of JobManager and worker
    Startup {
        #[arg(long, default_value_t = 11)]
        repetitions: u32,
    },
    /// Nexmark's queries over generated events into `blackhole`, as streams where they can be
    Nexmark(NexmarkArgs),
    /// An updating count over more keys than a worker's memory holds, with checkpoints
    State {
        /// Different keys: a power of ten
        #[arg(long, default_value_t = 100_000_000)]
        keys: u64,
        /// Options of Thalweg, `key=value`
        #[arg(short = 'D', value_parser = option)]
        define: Vec<(String, String)>,
    },
    /// Kills workers at random moments of running jobs and checks the outcome
    Kill {
        #[arg(long, default_value = "0.1", value_parser = scale)]
        scale: Scale,
        #[arg(long, default_value_t = 20)]
        kills: u32,
        /// Where the random moments come from; another one each time where none is given
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Kills workers at random moments of streams with checkpoints and compares every row
    StreamKill {
        #[arg(long, default_value_t = 20_000_000)]
        rows: u64,
        #[arg(long, default_value_t = 20)]
        jobs: u32,
        /// Workers that are killed in each job
        #[arg(long, default_value_t = 3)]
        kills: u32,
        /// Where the random moments come from; another one each time where none is given
        #[arg(long)]
        seed: Option<u64>,
        /// A folder for checkpoints, as a URL
        #[arg(long)]
        checkpoints: Option<String>,
    },
    /// Faults of three JobManagers and of workers while a stream runs: is every row there, once, and does no task start again
    Quorum {
        #[arg(long, default_value_t = 20_000_000)]
        rows: u64,
        #[arg(long, default_value_t = 25)]
        jobs: u32,
        /// Faults in each job
        #[arg(long, default_value_t = 4)]
        faults: u32,
        /// Only kill -9 of the leader
        #[arg(long)]
        leader_only: bool,
        /// Where the random moments come from; another one each time where none is given
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Cuts links between three JobManagers, workers and storage, kills, stops and restarts them, while a stream and batches run
    Network {
        /// How many faults must have hit in all
        #[arg(long, default_value_t = 100)]
        faults: usize,
        /// How many faults a stream meets at most
        #[arg(long, default_value_t = 10)]
        faults_per_job: usize,
        /// Which may happen; all where none is named
        #[arg(long, value_delimiter = ',')]
        kinds: Vec<NetworkFault>,
        /// For how long links are cut and processes are stopped at most
        #[arg(long, default_value_t = 8)]
        seconds: u64,
        /// Where the random moments come from; another one each time where none is given
        #[arg(long)]
        seed: Option<u64>,
    },
    /// What many workers and tasks take of the control plane
    Scale {
        #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1_000, 5_000])]
        workers: Vec<u32>,
        #[arg(long, default_value_t = 100_000)]
        tasks: u32,
    },
    /// Scripts that three JobManagers accept in a second, each synced to a majority of disks
    Submissions {
        #[arg(long, default_value_t = 10_000)]
        scripts: u64,
        #[arg(long, default_value_t = 64)]
        clients: usize,
        /// Cancel each job at once
        #[arg(long)]
        cancel: bool,
    },
    /// From a window's end to its result in Kafka, without and with checkpoints
    WindowLatency {
        /// Records a second
        #[arg(long, default_value_t = 100_000)]
        rate: u64,
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Checkpoints of a job whose sink is too slow
    Backpressure {
        /// How many times
        #[arg(long, default_value_t = 20)]
        slower: u64,
    },
    /// From `kill -9` of a worker until a stream is as fast as before
    Recovery {
        /// State that the job has by then
        #[arg(long, default_value_t = 1024)]
        state_mb: u64,
        /// Keys that make it
        #[arg(long, default_value_t = 60_000_000)]
        keys: u64,
    },
    /// Kills, stops and tears apart workers, the JobManager, Kafka and their connections while jobs go from Kafka to Kafka and files
    ExactlyOnce {
        #[arg(long, default_value_t = 2_000_000)]
        records: u64,
        /// How many faults must have hit in all
        #[arg(long, default_value_t = 200)]
        faults: u32,
        /// How many faults a job meets at most
        #[arg(long, default_value_t = 10)]
        faults_per_job: usize,
        /// Which may happen; all where none is named
        #[arg(long, value_delimiter = ',', default_values_t = Fault::ALL)]
        kinds: Vec<Fault>,
        /// Where the random moments come from; another one each time where none is given
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Runs one engine in this process; used by the other commands
    #[command(hide = true)]
    Engine {
        engine: Engine,
        #[command(flatten)]
        workload: WorkloadArgs,
    },
    /// Runs one query of Nexmark in this process; used by the other command
    #[command(hide = true)]
    NexmarkQuery(NexmarkArgs),
    /// Thalweg's own command line; the tests start workers by it
    #[command(hide = true, disable_help_flag = true)]
    Node {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct NexmarkArgs {
    /// Queries: `q0`, or `events` for all columns of all events; all where none are given
    #[arg(long, value_delimiter = ',')]
    queries: Vec<String>,
    /// Events of each query; 10 million, and 3 million for heavy ones, where nothing is said
    #[arg(long)]
    events: Option<u64>,
    #[arg(long, default_value_t = 2)]
    parallelism: u32,
    /// Options of Thalweg, `key=value`
    #[arg(short = 'D', value_parser = option)]
    define: Vec<(String, String)>,
}

impl NexmarkArgs {
    fn workload(self) -> bench::nexmark::Workload {
        let all = std::iter::once(nexmark::ALL_COLUMNS.to_owned()).chain(nexmark::queries());
        let queries = if self.queries.is_empty() { all.collect() } else { self.queries };
        let options: Options = self.define.into_iter().collect();
        bench::nexmark::Workload { queries, events: self.events, parallelism: self.parallelism, options }
    }
}

#[derive(Debug, Args)]
struct WorkloadArgs {
    #[arg(long, default_value = "1", value_parser = scale)]
    scale: Scale,
    /// The folder with `TABLE.parquet`; made in the cache folder where none is given
    #[arg(long)]
    folder: Option<PathBuf>,
    #[arg(long, default_value_t = 2)]
    threads: u32,
    /// Numbers of queries; all where none are given
    #[arg(long, value_delimiter = ',')]
    queries: Vec<u32>,
    /// Options of Thalweg, `key=value`
    #[arg(short = 'D', value_parser = option)]
    define: Vec<(String, String)>,
}

impl WorkloadArgs {
    fn workload(self) -> Result<Workload> {
        let folder = match self.folder {
            Some(folder) => folder,
            None => tpch_data::folder(self.scale)?,
        };
        let queries = if self.queries.is_empty() { QUERIES.collect() } else { self.queries };
        let options: Options = self.define.into_iter().collect();
        Ok(Workload { scale: self.scale, folder, threads: self.threads, queries, options })
    }
}

fn scale(text: &str) -> Result<Scale, String> {
    Scale::of(text).ok_or_else(|| "expected 0.01, 0.1 or 1: answers are kept for these".to_owned())
}

fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected `key=value`")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> Result<ExitCode> {
    let Cli { json, command } = Cli::parse();
    let report = match command {
        Command::Data { scale } => {
            writeln!(io::stdout(), "{}", tpch_data::folder(scale)?.display())?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Engine { engine, workload } => {
            bench::engine::run_here(engine, &workload.workload()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::NexmarkQuery(arguments) => {
            bench::nexmark::run_here(&arguments.workload())?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Node { arguments } => {
            thalweg::memory::keep_freed_buffers();
            let arguments = std::iter::once("thalweg".to_owned()).chain(arguments);
            return Ok(thalweg::command::Cli::parse_from(arguments).run());
        }
        Command::Tpch { workload, rounds, engines } => {
            bench::tpch::run(&engines, &workload.workload()?, rounds)?
        }
        Command::Nexmark(arguments) => bench::nexmark::run(&arguments.workload())?,
        command => on_cluster(command)?,
    };
    report.print(json.as_deref())?;
    Ok(ExitCode::SUCCESS)
}

#[tokio::main]
async fn on_cluster(command: Command) -> Result<Report> {
    let binary = Binary::beside_this()?;
    match command {
        Command::Cluster { workload, rounds } => {
            // As many slots as subtasks of a vertex, so that all can run at once.
            let slots = workload.threads.div_ceil(2);
            bench::cluster::run(ClusterConfig::new(binary, 2, slots), &workload.workload()?, rounds).await
        }
        Command::Latency { repetitions } => {
            bench::latency::run(ClusterConfig::new(binary, 1, 1), repetitions).await
        }
        Command::Scheduling { tasks } => bench::scheduling::run(&tasks).await,
        Command::Startup { repetitions } => {
            bench::startup::run(ClusterConfig::new(binary, 1, 1), repetitions).await
        }
        Command::State { keys, define } => {
            let workload = bench::state::Workload { keys, options: define.into_iter().collect() };
            bench::state::run(ClusterConfig::new(binary, 1, bench::state::PARALLELISM), &workload).await
        }
        Command::Kill { scale, kills, seed } => {
            let drill = Drill { scale, kills, seed: seed.unwrap_or_else(rand::random) };
            kill(ClusterConfig::new(binary, drill::WORKERS, drill::SLOTS), drill).await
        }
        Command::StreamKill { rows, jobs, kills, seed, checkpoints } => {
            let seed = seed.unwrap_or_else(rand::random);
            let drill = StreamDrill { rows, jobs, kills, seed, checkpoints };
            let config = ClusterConfig::new(binary, stream_drill::WORKERS, stream_drill::SLOTS);
            stream_kill(config, drill).await
        }
        Command::Quorum { rows, jobs, faults, leader_only, seed } => {
            let seed = seed.unwrap_or_else(rand::random);
            let kinds = if leader_only { vec![QuorumFault::KillLeader] } else { QuorumFault::ALL.to_vec() };
            let drill = QuorumDrill { rows, jobs, faults, kinds, seed };
            let config = ClusterConfig::new(binary, quorum_drill::WORKERS, quorum_drill::SLOTS);
            quorum(config, drill).await
        }
        Command::Network { faults, faults_per_job, kinds, seconds, seed } => {
            let seed = seed.unwrap_or_else(rand::random);
            let kinds = if kinds.is_empty() { NetworkFault::all(true) } else { kinds };
            let time_max = Duration::from_secs(seconds.max(1));
            let drill = NetworkDrill { faults, faults_per_job, kinds, time_max, seed };
            network(ClusterConfig::new(binary, network_drill::WORKERS, network_drill::SLOTS), drill).await
        }
        Command::Scale { workers, tasks } => bench::scale::run(&workers, tasks).await,
        Command::Submissions { scripts, clients, cancel } => {
            let workload = Submissions { scripts, clients, cancel };
            bench::submissions::run(ClusterConfig::new(binary, 0, 1), workload).await
        }
        Command::WindowLatency { rate, seconds } => {
            let workload = WindowLatency { rate, seconds };
            bench::window_latency::run(ClusterConfig::new(binary, 1, 2), workload).await
        }
        Command::Backpressure { slower } => {
            bench::backpressure::run(ClusterConfig::new(binary, 1, 2), slower).await
        }
        Command::Recovery { state_mb, keys } => {
            bench::recovery::run(ClusterConfig::new(binary, bench::recovery::WORKERS, 1), state_mb, keys)
                .await
        }
        Command::ExactlyOnce { records, faults, faults_per_job, kinds, seed } => {
            let seed = seed.unwrap_or_else(rand::random);
            let drill = ExactlyOnceDrill { records, faults, faults_per_job, kinds, seed };
            let config = ClusterConfig::new(binary, exactly_once::WORKERS, exactly_once::SLOTS);
            disturb(config, drill).await
        }
        _ => unreachable!("the other commands need no cluster"),
    }
}

async fn stream_kill(config: ClusterConfig, drill: StreamDrill) -> Result<Report> {
    let seed = drill.seed;
    let method = format!("{} rows a job, three workers, seed {seed}; every row was right, once.", drill.rows);
    let columns = ["killed after ms", "restarts", "undisturbed ms", "in all ms", "rows left"];
    let mut report = Report::new("kill -9 of workers of a stream", &method, &columns);
    let jobs = stream_drill::run(config, drill, |job| eprintln!("{job:?}")).await;
    let jobs = jobs.with_context(|| format!("--seed {seed}"))?;
    for job in &jobs {
        let kills: Vec<String> = job.kills_after_ms.iter().map(u64::to_string).collect();
        let numbers = [job.restarts, job.undisturbed_ms, job.total_ms, job.rows as u64];
        report.row([kills.join(", ")].into_iter().chain(numbers.map(|number| number.to_string())));
    }
    report.figures = serde_json::json!({ "seed": seed, "jobs": jobs });
    Ok(report)
}

async fn quorum(config: ClusterConfig, drill: QuorumDrill) -> Result<Report> {
    let seed = drill.seed;
    let method = format!(
        "{} rows a job, three JobManagers, three workers, checkpoints every 100 ms, seed {seed}; every row was right, once, and no task \
         started again where no worker was disturbed. Failover is from the fault until a majority confirms the next leader over REST; gaps \
         are the longest times without anything new to be seen in the sink's folder.",
        drill.rows
    );
    let columns = [
        "what happened, after ms",
        "failover ms",
        "restarts",
        "undisturbed ms",
        "in all ms",
        "undisturbed gap ms",
        "gap ms",
        "rows left",
    ];
    let mut report = Report::new("faults of a quorum of JobManagers", &method, &columns);
    let jobs = quorum_drill::run(config, drill, |job| eprintln!("{job:?}")).await;
    let jobs = jobs.with_context(|| format!("--seed {seed}"))?;
    for job in &jobs {
        let faults = job.faults.iter().map(|fault| format!("{:?} {}", fault.fault, fault.after_ms));
        let failovers = job.faults.iter().filter_map(|fault| fault.failover_ms).map(|ms| ms.to_string());
        let numbers = [
            Some(job.restarts),
            Some(job.undisturbed_ms),
            Some(job.total_ms),
            job.undisturbed_gap_ms,
            job.longest_gap_ms,
            Some(job.rows as u64),
        ];
        let numbers =
            numbers.map(|number| number.map_or_else(|| "-".to_owned(), |number| number.to_string()));
        let texts = [faults.collect::<Vec<_>>().join(", "), failovers.collect::<Vec<_>>().join(", ")];
        report.row(texts.into_iter().chain(numbers));
    }
    let of_leader =
        jobs.iter().flat_map(|job| &job.faults).filter(|fault| fault.fault == QuorumFault::KillLeader);
    let mut failovers: Vec<u64> = of_leader.filter_map(|fault| fault.failover_ms).collect();
    failovers.sort_unstable();
    let at = |share: f64| {
        failovers.get(((failovers.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied()
    };
    report.figures = serde_json::json!({
        "seed": seed,
        "jobs": jobs,
        "leader killed": { "times": failovers.len(), "p50 ms": at(0.5), "p99 ms": at(0.99) },
    });
    eprintln!("{}", report.figures["leader killed"]);
    Ok(report)
}

async fn network(config: ClusterConfig, drill: NetworkDrill) -> Result<Report> {
    let seed = drill.seed;
    let outcome = network_drill::run(config, drill, |job| eprintln!("{job:?}")).await;
    let outcome = outcome.with_context(|| format!("--seed {seed}"))?;
    let place = match &outcome.without_network {
        Some(why) => format!("on loopback and without cut links ({why})"),
        None => "each in a network namespace, beside HDFS in another".to_owned(),
    };
    let method = format!(
        "Three JobManagers and three workers, {place}; a stream with checkpoints every 300 ms and batches beside it, seed {seed}. Every row \
         was right, once; no task started again where a leader reached all workers; no deposed leader answered as one. Healed is from the \
         moment when all processes and links were there again until all members agreed, all workers were registered and a new checkpoint of \
         the stream was complete."
    );
    let columns = ["fault", "times", "failover ms, middle", "most", "healed ms, middle", "most"];
    let mut report = Report::new("faults of processes and links", &method, &columns);
    let hits: Vec<_> = outcome.jobs.iter().flat_map(|job| &job.hits).collect();
    for kind in NetworkFault::all(true) {
        let of_kind = hits.iter().filter(|hit| hit.fault == kind);
        let healed: Vec<f64> = of_kind.clone().map(|hit| hit.healed_ms as f64).collect();
        let failovers: Vec<f64> = of_kind.filter_map(|hit| hit.failover_ms).map(|ms| ms as f64).collect();
        if healed.is_empty() {
            continue;
        }
        let shown = |numbers: &[f64], of: f64| match numbers {
            [] => String::new(),
            numbers => format!("{:.0}", report::quantile(numbers, of)),
        };
        report.row([
            kind.to_string(),
            healed.len().to_string(),
            shown(&failovers, 0.5),
            shown(&failovers, 1.0),
            shown(&healed, 0.5),
            shown(&healed, 1.0),
        ]);
    }
    report.figures = serde_json::json!({ "seed": seed, "outcome": outcome });
    Ok(report)
}

async fn disturb(config: ClusterConfig, drill: ExactlyOnceDrill) -> Result<Report> {
    let seed = drill.seed;
    let method = format!(
        "{} records from Kafka through windows and updating joins to Kafka and Parquet, three workers, seed {seed}; every row of \
         every job was right, once, and no transaction or file was left.",
        drill.records
    );
    let columns = ["what happened, after ms", "undisturbed ms", "in all ms", "rows left"];
    let mut report = Report::new("faults of workers, JobManager, Kafka and connections", &method, &columns);
    let jobs = exactly_once::run(config, drill, |job| eprintln!("{job:?}")).await;
    let jobs = jobs.with_context(|| format!("--seed {seed}"))?;
    for job in &jobs {
        let faults: Vec<String> = job.faults.iter().map(|(fault, ms)| format!("{fault:?} {ms}")).collect();
        let numbers = [job.undisturbed_ms, job.total_ms, job.rows as u64];
        report.row([faults.join(", ")].into_iter().chain(numbers.map(|number| number.to_string())));
    }
    report.figures = serde_json::json!({ "seed": seed, "jobs": jobs });
    Ok(report)
}

async fn kill(config: ClusterConfig, drill: Drill) -> Result<Report> {
    let seed = drill.seed;
    let method = format!(
        "Scale factor {}, three workers, seed {seed}; every outcome was right.",
        drill.scale.as_str()
    );
    let columns = ["job", "exchange", "worker", "killed after ms", "undisturbed ms", "in all ms"];
    let mut report = Report::new("kill -9 of a worker", &method, &columns);
    let kills = drill::run(config, drill, |kill| eprintln!("{kill:?}"))
        .await
        .with_context(|| format!("--seed {seed}"))?;
    for kill in &kills {
        let numbers = [kill.worker as u64, kill.after_ms, kill.undisturbed_ms, kill.total_ms];
        let texts = [kill.job.clone(), kill.exchange.clone()];
        report.row(texts.into_iter().chain(numbers.map(|number| number.to_string())));
    }
    report.figures = serde_json::json!({ "seed": seed, "kills": kills });
    Ok(report)
}
