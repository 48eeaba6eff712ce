//! A cluster of real processes on this machine: one JobManager or a quorum of them, any number of workers. Gone with this process, however it ends.

use std::{
    fs, io,
    net::{TcpListener, TcpStream, ToSocketAddrs as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;
use reqwest::header::{self, HeaderMap};
use serde_json::Value;
use tempfile::TempDir;
use thalweg_graph::{Options, options};

pub use crate::node::{Binary, Node};
use crate::{certificates, namespaces::Namespaces};

/// Time for a process to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for one of several JobManagers to answer before the next is asked.
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Time for somebody to answer at a port that is to be free.
const PORT_TIMEOUT: Duration = Duration::from_millis(200);
/// The control port where each JobManager has an address of its own.
const CONTROL_PORT: u16 = 8081;

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// How `thalweg` is run.
    pub binary: Binary,
    /// How it is run as a worker, where another user runs those.
    pub worker_binary: Option<Binary>,
    /// JobManagers of a quorum; 0 for one alone, which keeps nothing.
    pub members: usize,
    /// Slots of each worker.
    pub slots: u32,
    /// Host names of the workers, one worker each; of a network their nodes there.
    pub hosts: Vec<String>,
    /// The network in which each process is a node of its own, JobManagers as [`job_manager_node`] names them; without one they share this
    /// machine's loopback address.
    pub network: Option<Arc<Namespaces>>,
    /// Options of all processes.
    pub options: Options,
    /// Environment variables of all processes.
    pub environment: Vec<(String, String)>,
}

impl ClusterConfig {
    /// `workers` workers of `slots` slots each, with defaults else.
    pub fn new(binary: Binary, workers: usize, slots: u32) -> Self {
        let hosts = vec!["127.0.0.1".to_owned(); workers];
        Self {
            binary,
            worker_binary: None,
            members: 0,
            slots,
            hosts,
            network: None,
            options: Options::default(),
            environment: Vec::new(),
        }
    }
}

/// The node of a JobManager in a network, by its position.
pub fn job_manager_node(index: usize) -> String {
    format!("jobmanager{}", index + 1)
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The control ports, `host:port`, separated by commas.
    pub address: String,
    addresses: Mutex<Vec<String>>,
    /// What clients come in by, where they are on another host than the JobManagers.
    token: Option<String>,
    job_managers: Mutex<Vec<Node>>,
    config: ClusterConfig,
    workers: Mutex<Vec<Node>>,
    started: Mutex<usize>,
    http: reqwest::Client,
    folder: TempDir,
}

impl Cluster {
    /// Starts a cluster and waits until all its workers have registered.
    pub async fn start(config: ClusterConfig) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("thalweg-cluster-").tempdir()?;
        let addresses = control_addresses(&config, 0, config.members.max(1))?;
        let address = addresses.join(",");
        let mut options = config.options.clone();
        if config.members > 0 {
            let members = addresses.iter().enumerate();
            let members: Vec<String> =
                members.map(|(index, address)| format!("{}@{address}", index + 1)).collect();
            options.0.insert("high-availability.type".to_owned(), "raft".to_owned());
            options.0.insert("high-availability.raft.members".to_owned(), members.join(","));
        }
        let tmp_dirs = || folder.path().join("tmp").display().to_string();
        options.0.entry("io.tmp.dirs".to_owned()).or_insert_with(tmp_dirs);
        fs::create_dir(folder.path().join("tmp"))?;
        if config.network.is_some() {
            protect(&mut options, folder.path())?;
        }
        if config.worker_binary.is_some() {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
            fs::set_permissions(folder.path().join("tmp"), fs::Permissions::from_mode(0o777))?;
        }
        fs::write(folder.path().join("config.yaml"), config_text(&options))?;
        let job_managers = addresses.iter().enumerate();
        let job_managers = job_managers
            .map(|(index, address)| start_job_manager(&config, folder.path(), index, address))
            .collect::<Result<_>>()?;
        let token =
            config.network.as_ref().map(|_| make_token(&config, folder.path(), &address)).transpose()?;
        let http = http_client(token.as_deref())?;
        let hosts = config.hosts.clone();
        let (job_managers, addresses) = (Mutex::new(job_managers), Mutex::new(addresses));
        let (workers, started) = (Mutex::default(), Mutex::new(0));
        let cluster =
            Self { address, addresses, token, job_managers, config, workers, started, http, folder };
        cluster.wait_for_workers(0).await?;
        for host in &hosts {
            cluster.add_worker(host)?;
        }
        cluster.wait_for_workers(hosts.len() as u64).await?;
        Ok(cluster)
    }

    /// Looks at the first JobManager's process.
    pub fn with_job_manager<T>(&self, look: impl FnOnce(&Node) -> T) -> T {
        look(&self.job_managers.lock()[0])
    }

    /// Looks at all JobManagers' processes.
    pub fn with_job_managers<T>(&self, look: impl FnOnce(&[Node]) -> T) -> T {
        look(&self.job_managers.lock())
    }

    /// Kills the JobManager with SIGKILL, starts another one on its address, and waits until all workers have found it.
    pub async fn restart_job_manager(&self) -> Result<()> {
        self.with_job_manager(Node::kill);
        self.replace_job_manager(0).await?;
        let count = self.workers.lock().len() as u64;
        self.wait_for_workers(count).await
    }

    /// Starts a JobManager in the place of one that was killed or told to end.
    pub async fn replace_job_manager(&self, index: usize) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let address = self.member_address(index);
        let socket = address.to_socket_addrs()?.next().context("a control port has an address")?;
        // Its port is free when nobody answers there.
        while !self.with_job_managers(|nodes| nodes[index].has_ended())
            || TcpStream::connect_timeout(&socket, PORT_TIMEOUT).is_ok()
        {
            ensure!(Instant::now() < deadline, "the JobManager does not die");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let node = start_job_manager(&self.config, self.folder.path(), index, &address)?;
        self.job_managers.lock()[index] = node;
        Ok(())
    }

    /// Starts one more JobManager, which waits to be added to the quorum; returns its control port's address.
    pub fn add_job_manager(&self) -> Result<String> {
        let index = self.addresses.lock().len();
        let address = control_addresses(&self.config, index, 1)?.remove(0);
        let mut config = self.config.clone();
        config.options.0.insert("high-availability.raft.members".to_owned(), String::new());
        let node = start_job_manager(&config, self.folder.path(), index, &address)?;
        self.addresses.lock().push(address.clone());
        self.job_managers.lock().push(node);
        Ok(address)
    }

    /// The JobManager that leads, by its position, once a majority confirms it; not one of those in `except`.
    pub async fn leader(&self, except: &[usize]) -> Result<usize> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let members = self.addresses.lock().len();
            for index in (0..members).filter(|index| !except.contains(index)) {
                if self.leads(index).await {
                    return Ok(index);
                }
            }
            ensure!(Instant::now() < deadline, "no JobManager leads\n{}", self.logs());
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether a JobManager, by its position, answers as the one that leads, which a majority confirms to it.
    pub async fn leads(&self, index: usize) -> bool {
        self.get_from(index, "/v1/overview").await.is_ok()
    }

    /// The control port of a JobManager.
    pub fn member_address(&self, index: usize) -> String {
        self.addresses.lock()[index].clone()
    }

    /// What clients on this machine need to come in.
    pub fn client_options(&self) -> Options {
        let token = self.token.as_deref().map(|token| ("rest.token", token));
        let of_tls = self.config.options.0.iter().filter(|(name, _)| name.starts_with("security.ssl."));
        let of_tls = of_tls.map(|(name, value)| (name.as_str(), value.as_str()));
        token.into_iter().chain(of_tls).collect()
    }

    /// Bytes in the folder of a member of the quorum.
    pub fn member_folder_bytes(&self, index: usize) -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.folder.path().join(format!("member{}", index + 1)))? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    /// Starts one more worker that calls itself `host`; returns its position. See [`Self::wait_for_workers`].
    pub fn add_worker(&self, host: &str) -> Result<usize> {
        let number = {
            let mut started = self.started.lock();
            *started += 1;
            *started
        };
        let binary = self.config.worker_binary.as_ref().unwrap_or(&self.config.binary);
        let network = self.config.network.as_ref();
        let address = network.map(|network| network.address(host)).transpose()?;
        let mut command = binary.command();
        command.arg("worker").arg("--config").arg(self.folder.path().join("config.yaml"));
        command.arg("--jobmanager").arg(&self.address).arg("--slots").arg(self.config.slots.to_string());
        command.arg("-D").arg(format!("taskmanager.host={}", address.unwrap_or(host)));
        if let Some(address) = address {
            command.arg("-D").arg(format!("taskmanager.bind-host={address}"));
        }
        command.envs(self.config.environment.iter().map(|(name, value)| (name, value)));
        if let Some(network) = network {
            command = network.inside(host, &command)?;
        }
        let node = Node::start(&command, self.folder.path().join(format!("worker{number}.log")))?;
        let mut workers = self.workers.lock();
        workers.push(node);
        Ok(workers.len() - 1)
    }

    /// Kills a worker with SIGKILL.
    pub fn kill_worker(&self, position: usize) {
        self.workers.lock()[position].kill();
    }

    /// Starts a worker in the place of one that was killed, and waits until it has registered and the old one is forgotten.
    pub async fn replace_worker(&self, position: usize) -> Result<()> {
        let host = self.config.hosts[position].clone();
        self.add_worker(&host)?;
        let count = {
            let mut workers = self.workers.lock();
            drop(workers.swap_remove(position));
            workers.len() as u64
        };
        self.wait_for_workers(count).await
    }

    /// Looks at the worker processes.
    pub fn with_workers<T>(&self, look: impl FnOnce(&[Node]) -> T) -> T {
        look(&self.workers.lock())
    }

    /// Waits until exactly `count` workers are registered.
    pub async fn wait_for_workers(&self, count: u64) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let registered =
                self.get("/v1/overview").await.ok().and_then(|answer| answer["taskmanagers"].as_u64());
            if registered == Some(count) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{registered:?} instead of {count} workers registered in time\n{}", self.logs());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Asks the REST API: of several JobManagers the first that answers and does not send to another one.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let mut problem = None;
        let members = self.addresses.lock().len();
        for index in 0..members {
            match self.get_from(index, path).await {
                Ok(answer) => return Ok(answer),
                Err(error) => problem = Some(error),
            }
        }
        Err(problem.context("there is a JobManager")?)
    }

    /// Asks the REST API of a JobManager, by its position; that it sends to another one is an error.
    pub async fn get_from(&self, index: usize, path: &str) -> Result<Value> {
        let address = self.member_address(index);
        if self.speaks_tls() {
            let asking = certificates::get(&self.config.options, &address, path);
            return tokio::time::timeout(LEADER_TIMEOUT, asking).await?;
        }
        let asking = self.http.get(format!("http://{address}{path}"));
        let is_alone = self.addresses.lock().len() == 1;
        let asking = if is_alone { asking } else { asking.timeout(LEADER_TIMEOUT) };
        let answer = asking.send().await?.error_for_status()?;
        ensure!(!answer.status().is_redirection(), "{address} does not lead");
        Ok(answer.json().await?)
    }

    /// Sends something to the leader's REST API; a refusal is told with its code.
    pub async fn put(&self, path: &str, body: &Value) -> Result<()> {
        let leader = self.leader(&[]).await?;
        let url = format!("http://{}{path}", self.member_address(leader));
        let answer = self.http.put(url).json(body).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{path}: {status}: {}", answer.text().await?);
        Ok(())
    }

    fn speaks_tls(&self) -> bool {
        self.config.options.get(&options::SSL_ENABLED).unwrap_or_default()
    }

    /// The URL of a REST path.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.speaks_tls() { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.member_address(0))
    }

    /// The ends of all logs, for the message of a failed test.
    pub fn logs(&self) -> String {
        let (job_managers, workers) = (self.job_managers.lock(), self.workers.lock());
        let nodes = job_managers.iter().chain(workers.iter());
        nodes.map(|node| format!("--- {}\n{}\n", node.log.display(), node.log_tail())).collect()
    }
}

fn start_job_manager(config: &ClusterConfig, folder: &Path, index: usize, address: &str) -> Result<Node> {
    let (host, port) = address.rsplit_once(':').context("an address is `host:port`")?;
    let mut command = config.binary.command();
    command.arg("jobmanager").arg("--config").arg(folder.join("config.yaml"));
    command.arg("-D").arg(format!("rest.port={port}"));
    command.arg("-D").arg(format!("rest.bind-address={host}"));
    let number = index + 1;
    if config.members > 0 {
        let own = folder.join(format!("member{number}"));
        let members = config.options.0.get("high-availability.raft.members");
        if let Some(members) = members {
            command.arg("-D").arg(format!("high-availability.raft.members={members}"));
        }
        command.arg("-D").arg(format!("high-availability.raft.member={number}"));
        command.arg("-D").arg(format!("high-availability.raft.dir={}", own.display()));
    }
    command.envs(config.environment.iter().map(|(name, value)| (name, value)));
    if let Some(network) = &config.network {
        command = network.inside(&job_manager_node(index), &command)?;
    }
    let log =
        if config.members > 0 { format!("jobmanager{number}.log") } else { "jobmanager.log".to_owned() };
    Node::start(&command, folder.join(log))
}

/// Where some JobManagers listen, from the one at position `first`.
fn control_addresses(config: &ClusterConfig, first: usize, count: usize) -> Result<Vec<String>> {
    let Some(network) = &config.network else {
        return Ok(free_ports(count)?.into_iter().map(|port| format!("127.0.0.1:{port}")).collect());
    };
    let address = |index| Ok(format!("{}:{CONTROL_PORT}", network.address(&job_manager_node(index))?));
    (first..first + count).map(address).collect()
}

/// What a cluster needs that others can reach: a secret, and paths that jobs may name.
fn protect(options: &mut Options, folder: &Path) -> Result<()> {
    let secret = folder.join("secret");
    fs::write(&secret, format!("{:032x}", rand::random::<u128>()))?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    options.0.insert("security.cluster.secret-file".to_owned(), secret.display().to_string());
    options.0.entry("security.paths.allow".to_owned()).or_insert_with(|| "/, hdfs://".to_owned());
    Ok(())
}

/// A token for callers from this host, made by somebody who knows the secret.
fn make_token(config: &ClusterConfig, folder: &Path, address: &str) -> Result<String> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let mut command = config.binary.command();
        command.args(["token", "create", "--role", "admin", "-m", address, "--config"]);
        let output = command.arg(folder.join("config.yaml")).output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?.trim().to_owned());
        }
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(Instant::now() < deadline, "no token was made: {why}");
    }
}

fn http_client(token: Option<&str>) -> Result<reqwest::Client> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse()?);
    }
    let builder = reqwest::Client::builder().timeout(READY_TIMEOUT).no_proxy().default_headers(headers);
    // An HTTP client would not send the token along.
    Ok(builder.redirect(reqwest::redirect::Policy::none()).build()?)
}

/// Ports that nobody listens on. All are looked for before the first is given back, so that they differ.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    Ok(listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<io::Result<_>>()?)
}

fn config_text(options: &Options) -> String {
    // JSON strings are YAML strings.
    options.0.iter().map(|(key, value)| format!("{key}: {}\n", Value::from(value.as_str()))).collect()
}
