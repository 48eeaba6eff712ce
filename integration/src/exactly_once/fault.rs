//! What can happen to a job from outside.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;
use tokio::task::block_in_place;

use crate::{kafka::Kafka, processes::Cluster};

/// Longer than the heartbeat's timeout.
const PAUSE: Duration = Duration::from_secs(3);

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
pub enum Fault {
    /// SIGKILL of a worker; another one comes.
    KillWorker,
    /// SIGSTOP of a worker until it counts as lost, then SIGCONT: it comes back and does not know.
    PauseWorker,
    /// SIGKILL of Kafka; it comes back with its data.
    KillKafka,
    /// SIGSTOP of Kafka for a while.
    PauseKafka,
    /// All TCP connections to Kafka, to the JobManager and between workers are reset.
    TearConnections,
    /// SIGKILL of the JobManager. Another one comes, which knows of no job: the job is submitted again, from its newest checkpoint.
    KillJobManager,
}

impl std::fmt::Display for Fault {
    /// As it is named on the command line.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.to_possible_value().map(|value| value.get_name().to_owned());
        formatter.write_str(&name.unwrap_or_default())
    }
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 6] = [
        Fault::KillWorker,
        Fault::PauseWorker,
        Fault::KillKafka,
        Fault::PauseKafka,
        Fault::TearConnections,
        Fault::KillJobManager,
    ];

    /// Lets it happen; returns when all processes are there again.
    pub(super) async fn strike(self, kafka: &Kafka, cluster: &Cluster, worker: usize) -> Result<()> {
        match self {
            Fault::KillWorker => {
                cluster.kill_worker(worker);
                cluster.replace_worker(worker).await?;
            }
            Fault::PauseWorker => {
                let pause = |signal| cluster.with_workers(|workers| workers[worker].signal(signal));
                pause(libc::SIGSTOP);
                tokio::time::sleep(PAUSE).await;
                pause(libc::SIGCONT);
            }
            Fault::KillKafka => block_in_place(|| {
                kafka.kill()?;
                kafka.restart()
            })?,
            Fault::PauseKafka => {
                kafka.signal(libc::SIGSTOP)?;
                tokio::time::sleep(PAUSE).await;
                kafka.signal(libc::SIGCONT)?;
            }
            Fault::TearConnections => {
                let mut ports = vec![port(&kafka.bootstrap)?, port(&cluster.address)?];
                let workers = cluster.get("/v1/taskmanagers").await?;
                for worker in workers["taskmanagers"].as_array().context("there are workers")? {
                    ports.extend(worker["dataPort"].as_u64().map(|port| port as u16));
                }
                ports.into_iter().try_for_each(tear)?;
            }
            Fault::KillJobManager => cluster.restart_job_manager().await?,
        }
        Ok(())
    }
}

fn port(address: &str) -> Result<u16> {
    let (_, port) = address.rsplit_once(':').context("`host:port`")?;
    Ok(port.parse()?)
}

/// Resets every established connection from and to a port of this machine.
fn tear(port: u16) -> Result<()> {
    let (from, to) = (format!("sport = :{port}"), format!("dport = :{port}"));
    let killed = Command::new("ss")
        .args(["--kill", "--tcp", "--no-header", "state", "established", "(", &from, "or", &to, ")"])
        .stdout(Stdio::null())
        .status()
        .context("ss (package iproute2)")?;
    ensure!(killed.success(), "ss --kill ended with {killed}");
    Ok(())
}
