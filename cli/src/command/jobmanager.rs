//! `thalweg jobmanager`: the process that plans, schedules and commits. One control port.

use std::{
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use thalweg_deploy::{Process, ProcessConfig};
use thalweg_graph::{Options, options};
use thalweg_rpc::Trust;
use thalweg_scheduler::{JobManager, JobManagerConfig, LogLimits, LogRing, Login, MemberConfig};
use tokio::net::TcpListener;

use super::{address, warn};
use crate::{
    checkpoint_files::CheckpointFiles,
    config::{self, ConfigArgs},
    connectors,
    history_files::HistoryFiles,
    interrupt::Shutdown,
    script_planner::ScriptPlanner,
    table_committer::TableCommitter,
};

/// Starts a JobManager: accepts scripts over REST, plans them, and runs them on the workers that register with it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,

    /// Bind an address that others can reach without a secret and without logins: whoever reaches it can do everything
    #[arg(long)]
    insecure: bool,

    /// Start N workers on this host too, which end with the JobManager
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: u32,
}

/// Runs the command until a signal or a call of REST ends it.
pub async fn run(args: Args, log: LogRing) -> Result<()> {
    let config = config::load(&args.config)?;
    warn(&config.warnings);
    let trust = Trust::from_options(&config.options)?;
    trust.check_serves()?;
    let address = bind_address(&config.options)?;
    address::may_bind(options::REST_BIND_ADDRESS.name, address.ip(), &trust, args.insecure)?;
    check_paths(&config.options, address.ip(), args.insecure)?;
    address::warn_in_the_clear(options::REST_BIND_ADDRESS.name, address.ip(), &trust);
    let mut shutdown = Shutdown::listen()?;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot bind the control port {address}"))?;
    let connectors = connectors::open(&config.options)?;
    let planner = Arc::new(ScriptPlanner::new(connectors.clone()));
    let committer = Arc::new(TableCommitter::new(connectors.clone()));
    let history = HistoryFiles::open(&config.options, connectors.clone())?;
    let storage = Arc::new(CheckpointFiles::new(connectors));
    let workers = ProcessConfig::this_binary(&config.options, args.insecure)?;
    let quorum = quorum(&config.options)?;
    let login = match (args.insecure, config.options.get(&options::LOOPBACK_LOGIN)?) {
        (_, true) => Login::Everybody,
        (false, false) => Login::Others,
        (true, false) => Login::Nobody,
    };
    let (options, scheme) = (config.options, trust.scheme());
    let manager_config =
        JobManagerConfig { options, quorum, trust, login, log, history, ..JobManagerConfig::default() };
    let job_manager = JobManager::start(manager_config, planner, committer, storage).await?;
    let bound = listener.local_addr()?;
    if args.workers > 0 {
        let workers = Arc::new(Process::new(workers));
        job_manager.deploy(workers, &reached_from_here(bound).to_string(), args.workers).await?;
    }
    // One line that whoever started this process can wait for.
    writeln!(io::stdout(), "JobManager ready at {scheme}://{bound}")?;
    tokio::select! {
        served = job_manager.serve(listener) => served.context("the control port failed")?,
        signal = shutdown.requested() => tracing::info!(signal, "stopping"),
    }
    job_manager.stop().await;
    Ok(())
}

/// Makes sure that jobs of others do not get to every file by default.
fn check_paths(options: &Options, bind: IpAddr, insecure: bool) -> Result<()> {
    let allow = options::PATHS_ALLOW.name;
    if options.get(&options::PATHS_ALLOW)?.trim().is_empty() && !bind.is_loopback() && !insecure {
        bail!(
            "`{}` is `{bind}`, and jobs of others may name every path: list in `{allow}` below what they may read and \
             write, such as `hdfs://` for every HDFS",
            options::REST_BIND_ADDRESS.name
        );
    }
    Ok(())
}

/// This JobManager's place in a quorum, if it is to have one.
fn quorum(options: &Options) -> Result<Option<MemberConfig>> {
    let kind = options.get(&options::HA_TYPE)?;
    match kind.to_ascii_lowercase().as_str() {
        "none" | "" => return Ok(None),
        "raft" => {}
        "zookeeper" | "kubernetes" => bail!(
            "`{}` cannot be `{kind}`: JobManagers agree among themselves, set it to `raft`",
            options::HA_TYPE.name
        ),
        _ => bail!("`{}` cannot be `{kind}`: expected `raft` or `none`", options::HA_TYPE.name),
    }
    let member = u64::from(options.get(&options::HA_MEMBER)?);
    if member == 0 {
        bail!("`{}` cannot be 0: members are counted from 1", options::HA_MEMBER.name);
    }
    let folder = options.get(&options::HA_DIR)?;
    if folder.is_empty() {
        bail!(
            "a JobManager of a quorum needs a folder of its own on a local disk: set `{}`",
            options::HA_DIR.name
        );
    }
    let members = address::members(options)?;
    if !members.is_empty() && !members.iter().any(|known| known.member == member) {
        bail!(
            "`{}` has no member {member}, which `{}` says this JobManager is",
            options::HA_MEMBERS.name,
            options::HA_MEMBER.name
        );
    }
    let election_timeout = options.get(&options::HA_ELECTION_TIMEOUT)?;
    Ok(Some(MemberConfig {
        member,
        members,
        folder: folder.into(),
        election_timeout,
        log: LogLimits::default(),
    }))
}

/// The address by which a process on this host reaches a port that may be bound to all addresses.
fn reached_from_here(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// Where the control port binds.
fn bind_address(options: &Options) -> Result<SocketAddr> {
    let host = options.get(&options::REST_BIND_ADDRESS)?;
    let name = options::REST_BIND_ADDRESS.name;
    let ip: IpAddr = match host.as_str() {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => host
            .parse()
            .ok()
            .with_context(|| format!("option `{name}` cannot be `{host}`: expected an IP address"))?,
    };
    let port = options.get(&options::REST_PORT)?;
    let port = u16::try_from(port)
        .ok()
        .with_context(|| format!("`{}` cannot be `{port}`", options::REST_PORT.name))?;
    Ok(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_binds_without_a_secret_or_being_told() {
        let bind = |host: &str, insecure, secret: &str| {
            let options =
                [("rest.bind-address", host), ("rest.port", "0"), ("security.cluster.secret", secret)];
            let options = options.into_iter().collect();
            let address = bind_address(&options)?;
            address::may_bind("rest.bind-address", address.ip(), &Trust::from_options(&options)?, insecure)
        };
        assert!(bind("127.0.0.1", false, "").is_ok() && bind("::1", false, "").is_ok());
        assert!(bind("0.0.0.0", false, "").unwrap_err().to_string().contains("--insecure"));
        assert!(bind("0.0.0.0", true, "").is_ok());
        assert!(bind("0.0.0.0", false, "0123456789abcdef").is_ok());
        assert!(bind("nowhere", true, "").is_err());
    }
}
