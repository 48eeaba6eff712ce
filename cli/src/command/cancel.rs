//! `thalweg cancel`: cancels a job and waits until it has ended.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use thalweg_graph::{JobId, JobStatus};

use super::address::ClusterArgs;
use crate::{backend::Jobs as _, remote::Rest};

/// Cancels a job; nothing that it has written becomes visible
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// Flink's old way to a savepoint
    #[arg(short = 's', long = "withSavepoint", value_name = "PATH", hide = true)]
    with_savepoint: Option<String>,

    /// The job's id
    job: JobId,
}

/// Runs the command.
pub async fn run(args: Args) -> Result<()> {
    if args.with_savepoint.is_some() {
        bail!("`--withSavepoint` is deprecated in Flink and not there: use `thalweg stop -p <folder> <job>`");
    }
    let (options, address) = args.cluster.load()?;
    let rest = Rest::new(&address, &options)?;
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
    Ok(writeln!(io::stdout(), "Cancelled job {job}.")?)
}
