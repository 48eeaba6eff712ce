//! `thalweg rescale`: lets a streaming job go on at another parallelism.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use thalweg_graph::JobId;

use super::address::ClusterArgs;
use crate::remote::Rest;

/// Lets a streaming job go on at another parallelism, from its newest checkpoint
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// The job's id
    job: JobId,

    /// Subtasks of each vertex that can have several
    #[arg(short = 'p', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    parallelism: u32,
}

/// Runs the command.
pub async fn run(args: Args) -> Result<()> {
    let (options, address) = args.cluster.load()?;
    let rest = Rest::new(&address, &options)?;
    let rescaled = rest.rescale(args.job, args.parallelism).await;
    rescaled.with_context(|| format!("could not rescale job {}", args.job))?;
    Ok(writeln!(io::stdout(), "Rescaled job {} to a parallelism of {}.", args.job, args.parallelism)?)
}
