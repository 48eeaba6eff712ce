//! `thalweg cancel`: cancels a job and waits until it has ended.

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use thalweg_graph::{JobId, JobStatus};

use super::{address, warn};
use crate::{
    backend::Jobs as _,
    config::{self, ConfigArgs},
    remote::Rest,
};

/// Cancels a job; nothing that it has written becomes visible
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// The JobManager [default: rest.address and rest.port]
    #[arg(short = 'm', long, value_name = "HOST:PORT")]
    jobmanager: Option<String>,

    /// Savepoint to make first (not supported yet)
    #[arg(short = 's', long = "withSavepoint", value_name = "PATH", hide = true)]
    with_savepoint: Option<String>,

    /// The job's id
    job: JobId,
}

/// Runs the command.
pub async fn run(args: Args) -> Result<()> {
    if args.with_savepoint.is_some() {
        bail!("`--withSavepoint` is not supported yet: jobs are batch jobs, which keep no state");
    }
    let config = config::load(&args.config)?;
    warn(&config.warnings);
    let rest = Rest::new(&address::jobmanager(args.jobmanager.as_deref(), &config.options)?)?;
    let job = args.job;
    eprintln!("Cancelling job {job}.");
    rest.cancel(job).await.with_context(|| format!("could not cancel job {job}"))?;
    let mut progress = rest.watch(job).await?;
    let mut status = JobStatus::Cancelling;
    while let Some(next) = progress.next().await {
        status = next?.status;
    }
    if status != JobStatus::Canceled {
        bail!("job {job} could not be cancelled any more: it is {status}");
    }
    println_stdout(&format!("Cancelled job {job}."))
}

fn println_stdout(line: &str) -> Result<()> {
    use std::io::Write as _;
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
