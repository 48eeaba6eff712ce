//! Lives the lives of some seeds and says which of them break an invariant.

use std::{
    ops::Range,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use clap::Parser;
use thalweg_sim::Life;

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
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    match text.split_once("..") {
        Some((from, to)) => Ok(number(from)?..number(to)?),
        None => Ok(0..number(text)?),
    }
}

#[allow(clippy::print_stdout, reason = "it is a command")]
fn main() -> ExitCode {
    tracing_subscriber::fmt()
        // `RUST_LOG` shows what the processes say, at the machine's time.
        .with_env_filter(std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned()))
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let began = Instant::now();
    let (next, broken) = (AtomicU64::new(args.seeds.start), Mutex::new(Vec::<Life>::new()));
    thread::scope(|scope| {
        for _ in 0..args.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.seeds.end {
                        return;
                    }
                    let life = thalweg_sim::run(seed);
                    if args.trace || life.broken.is_some() {
                        println!("{}{life}", life.trace);
                    }
                    if life.broken.is_some()
                        && let Ok(mut broken) = broken.lock()
                    {
                        broken.push(life);
                    }
                }
            });
        }
    });
    let mut broken = broken.into_inner().unwrap_or_default();
    broken.sort_by_key(|life| life.seed);
    broken.iter().for_each(|life| println!("{life}"));
    let lives = args.seeds.end.saturating_sub(args.seeds.start);
    println!("{lives} lives in {:.1} s, {} broken", began.elapsed().as_secs_f64(), broken.len());
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
