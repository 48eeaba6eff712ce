//! `thalweg savepoint`, `stop` and `checkpoint`: ask for a cut through a streaming job and wait until it is complete.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, anyhow, bail};
use futures::StreamExt as _;
use serde_json::json;
use thalweg_connectors::checkpoint_storage;
use thalweg_graph::{JobId, JobStatus};

use super::address::ClusterArgs;
use crate::{backend::Jobs as _, connectors, remote::Rest};

/// Takes a savepoint of a streaming job, which goes on; or removes one
#[derive(Debug, clap::Args)]
pub struct SavepointArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// Remove this savepoint with all its files instead: no job can go on from it any more
    #[arg(short = 'd', long, value_name = "PATH", conflicts_with = "job")]
    dispose: Option<String>,

    /// The job's id
    #[arg(required_unless_present = "dispose")]
    job: Option<JobId>,

    /// The folder in which the savepoint gets one of its own [default: execution.checkpointing.savepoint-dir]
    #[arg(value_name = "FOLDER")]
    target: Option<String>,
}

/// Ends a streaming job behind a savepoint: nothing is read after it, everything before it becomes visible
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// The folder in which the savepoint gets one of its own [default: execution.checkpointing.savepoint-dir]
    #[arg(short = 'p', long = "savepointPath", value_name = "FOLDER")]
    target: Option<String>,

    /// Let event time come to its end first, so that all windows are put out; such a job is not meant to go on
    #[arg(short = 'd', long)]
    drain: bool,

    /// The job's id
    job: JobId,
}

/// Takes a checkpoint of a streaming job now
#[derive(Debug, clap::Args)]
pub struct CheckpointArgs {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// The job's id
    job: JobId,
}

/// Runs `savepoint`.
pub async fn savepoint(args: SavepointArgs) -> Result<()> {
    let (options, address) = args.cluster.load()?;
    if let Some(path) = args.dispose {
        let connectors = connectors::open(&options)?;
        let disposed = checkpoint_storage::dispose(connectors.file_systems(), &path).await;
        disposed.map_err(|error| anyhow!(error.chain()))?;
        return Ok(writeln!(io::stdout(), "Savepoint '{path}' disposed.")?);
    }
    let Some(job) = args.job else { bail!("name the job to take a savepoint of") };
    let rest = Rest::new(&address, &options)?;
    eprintln!("Triggering savepoint for job {job}.");
    let body = json!({ "target-directory": args.target });
    let folder = complete(&rest, job, "savepoints", body).await?;
    Ok(writeln!(io::stdout(), "Savepoint completed. Path: {folder}")?)
}

/// Runs `stop`.
pub async fn stop(args: StopArgs) -> Result<()> {
    let (options, address) = args.cluster.load()?;
    let rest = Rest::new(&address, &options)?;
    eprintln!("Suspending job \"{}\" with a savepoint.", args.job);
    let body = json!({ "targetDirectory": args.target, "drain": args.drain });
    let folder = complete(&rest, args.job, "stop", body).await?;
    let mut progress = rest.watch(args.job).await?;
    let mut status = JobStatus::Running;
    while let Some(next) = progress.next().await {
        status = next?.status;
    }
    if status != JobStatus::Finished {
        bail!("the savepoint `{folder}` is complete, but job {} ended as {status}", args.job);
    }
    Ok(writeln!(io::stdout(), "Savepoint completed. Path: {folder}")?)
}

/// Runs `checkpoint`.
pub async fn checkpoint(args: CheckpointArgs) -> Result<()> {
    let (options, address) = args.cluster.load()?;
    let rest = Rest::new(&address, &options)?;
    let folder = complete(&rest, args.job, "checkpoints", json!({})).await?;
    Ok(writeln!(io::stdout(), "Checkpoint completed. Path: {folder}")?)
}

async fn complete(rest: &Rest, job: JobId, what: &str, body: serde_json::Value) -> Result<String> {
    let asked = rest.trigger(job, what, &body).await;
    asked.with_context(|| format!("job {job} has no savepoint or checkpoint"))
}
