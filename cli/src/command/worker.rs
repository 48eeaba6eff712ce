//! `thalweg worker`: the process that runs tasks.

use std::{
    fs,
    io::{self, Write as _},
};

use anyhow::{Context as _, Result};
use thalweg_graph::options;
use thalweg_worker::{LeaderLink, Worker, WorkerConfig};

use super::address::{self, ClusterArgs};
use crate::{connectors, interrupt::Shutdown};

/// Starts a worker: registers with a JobManager and runs the tasks that it is given
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,

    /// Slots to offer: tasks that run at once [default: taskmanager.numberOfTaskSlots]
    #[arg(long, value_name = "N")]
    slots: Option<u32>,

    /// Bind a data port that others can reach without a secret: whoever reaches it can read what tasks exchange
    #[arg(long)]
    insecure: bool,
}

/// Runs the command until a signal or the JobManager ends it.
pub async fn run(args: Args) -> Result<()> {
    let (mut options, address) = args.cluster.load()?;
    if let Some(slots) = args.slots {
        options.0.insert(options::TASK_SLOTS.name.to_owned(), slots.to_string());
    }
    let mut shutdown = Shutdown::listen()?;
    let config = WorkerConfig::from_options(&options, &host_name())?;
    config.trust.check_serves()?;
    let slots = config.slots;
    if let Some(bind) = config.bind {
        address::may_bind(options::WORKER_BIND_HOST.name, bind, &config.trust, args.insecure)?;
        address::warn_in_the_clear(options::WORKER_BIND_HOST.name, bind, &config.trust);
    }
    let connectors = connectors::open_for(&options, &config)?;
    let link = LeaderLink::Remote { addresses: address::each(&address) };
    let mut worker = Worker::start(config, connectors, link).await?;
    // One line that whoever started this process can wait for.
    writeln!(
        io::stdout(),
        "Worker {} ready with {slots} slots for the JobManager at {address}",
        worker.id()
    )?;
    let reason = tokio::select! {
        reason = worker.stopped() => reason,
        signal = shutdown.requested() => {
            tracing::info!(signal, "stopping");
            worker.stop();
            worker.stopped().await
        }
    };
    let reason = reason.context("the worker stopped")?;
    tracing::info!(reason, "stopped");
    Ok(())
}

/// This machine's name, by which block locations are matched.
fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}
