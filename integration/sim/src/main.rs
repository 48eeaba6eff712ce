//! Lives the lives of some seeds and says which of them break an invariant.

use std::{
    ops::Range,
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;

/// Real control plane on a simulated network, disks and clock.
#[derive(Parser)]
struct Args {
    /// Seeds: `FROM..TO`, or how many from 0.
    #[arg(default_value = "200", value_parser = seeds)]
    seeds: Range<u64>,

    /// Prints the trace of every life, not only of broken ones.
    #[arg(long)]
    trace: bool,

    /// Lives at once.
    #[arg(long, default_value_t = 2)]
    threads: usize,

    /// Lives this one life in this process and prints it: what `make sim` starts for each seed.
    #[arg(long, value_name = "SEED", conflicts_with = "seeds")]
    alone: Option<u64>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => Ok(0..number(text)?),
    }
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        // `RUST_LOG` shows what the processes say, at the machine's time.
        .with_env_filter(std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned()))
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    match args.alone {
        Some(seed) => live(seed),
        None => live_all(&args),
    }
}

/// Lives one life. Each has a process of its own: tokio numbers the tasks of a process, and in which order those of a crashed host end depends
/// on their numbers.
#[allow(clippy::print_stdout, reason = "it is a command")]
fn live(seed: u64) -> ExitCode {
    let life = thalweg_sim::run(seed);
    println!("{}{life}", life.trace);
    if life.broken.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[allow(clippy::print_stdout, reason = "it is a command")]
fn live_all(args: &Args) -> ExitCode {
    let began = Instant::now();
    let (next, broken) = (AtomicU64::new(args.seeds.start), Mutex::new(Vec::<(u64, String)>::new()));
    thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.seeds.end {
                        return;
                    }
                    let (well, text) = live_elsewhere(seed);
                    if args.trace || !well {
                        println!("{text}");
                    }
                    if !well && let Ok(mut broken) = broken.lock() {
                        broken.push((seed, text));
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap_or_default();
    broken.sort();
    for (_, text) in &broken {
        // The verdict is behind the trace.
        let verdict: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("seed ")).collect();
        println!("{}", verdict.join("\n"));
    }
    let lives = args.seeds.end.saturating_sub(args.seeds.start);
    println!("{lives} lives in {:.1} s, {} broken", began.elapsed().as_secs_f64(), broken.len());
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lives a life in a process of its own: whether it went well, and what there is to say.
fn live_elsewhere(seed: u64) -> (bool, String) {
    let process = std::env::current_exe().and_then(|own| {
        Command::new(own).arg("--alone").arg(seed.to_string()).stderr(Stdio::inherit()).output()
    });
    match process {
        Ok(output) => (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => (false, format!("seed {seed}: no process could be started for it: {error}")),
    }
}
