//! `thalweg list`: the jobs of a cluster, as `flink list` prints them.

use std::io::{self, Write};

use anyhow::Result;
use chrono::{DateTime, Local};
use thalweg_graph::JobStatus;

use super::address::ClusterArgs;
use crate::{
    backend::{JobLine, Jobs as _},
    remote::Rest,
};

/// Lists the jobs of a cluster: running and scheduled ones where nothing else is said
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// Only running jobs
    #[arg(short, long)]
    running: bool,

    /// Only scheduled jobs
    #[arg(short, long)]
    scheduled: bool,

    /// Also jobs that have ended
    #[arg(short, long)]
    all: bool,
}

/// Runs the command.
pub async fn run(args: Args) -> Result<()> {
    let (options, address) = args.cluster.load()?;
    let rest = Rest::new(&address, &options)?;
    eprintln!("Waiting for response...");
    let jobs = rest.list().await?;
    let neither = !args.running && !args.scheduled;
    let (scheduled, rest): (Vec<_>, Vec<_>) =
        jobs.into_iter().partition(|job| matches!(job.status, JobStatus::Created | JobStatus::Initializing));
    let (ended, running): (Vec<_>, Vec<_>) = rest.into_iter().partition(|job| job.status.is_terminal());
    let mut out = io::stdout().lock();
    if args.running || args.all || neither {
        print(&mut out, "Running/Restarting Jobs", Some("No running jobs."), running)?;
    }
    if args.scheduled || args.all || neither {
        print(&mut out, "Scheduled Jobs", Some("No scheduled jobs."), scheduled)?;
    }
    if args.all {
        print(&mut out, "Terminated Jobs", None, ended)?;
    }
    Ok(())
}

fn print(out: &mut impl Write, title: &str, none: Option<&str>, mut jobs: Vec<JobLine>) -> io::Result<()> {
    if jobs.is_empty() {
        return none.map_or(Ok(()), |none| writeln!(out, "{none}"));
    }
    jobs.sort_by_key(|job| job.start_ms);
    writeln!(out, "{:-^62}", format!(" {title} "))?;
    for job in jobs {
        let started = DateTime::from_timestamp_millis(job.start_ms).unwrap_or_default().with_timezone(&Local);
        writeln!(
            out,
            "{} : {} : {} ({})",
            started.format("%d.%m.%Y %H:%M:%S"),
            job.job,
            job.name,
            job.status
        )?;
    }
    writeln!(out, "{:-^62}", "")
}

#[cfg(test)]
mod tests {
    use thalweg_graph::JobId;

    use super::*;

    #[test]
    fn blocks_look_like_flinks() {
        let job =
            JobLine { job: JobId(0xab), name: "etl".to_owned(), status: JobStatus::Running, start_ms: 0 };
        let mut out = Vec::new();
        print(&mut out, "Running/Restarting Jobs", Some("No running jobs."), vec![job]).unwrap();
        print(&mut out, "Scheduled Jobs", Some("No scheduled jobs."), vec![]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "------------------ Running/Restarting Jobs -------------------");
        assert!(lines[1].ends_with("ab : etl (RUNNING)"));
        assert_eq!(lines[3], "No scheduled jobs.");
    }
}
