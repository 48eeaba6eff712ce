//! A cluster of real processes on this machine: one JobManager or a quorum of them, any number of workers. Gone with this process, however it ends.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use thalweg_graph::{Options, options};

use crate::certificates;

/// Time for a process to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for one of several JobManagers to answer before the next is asked.
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two looks at a condition.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Lines of a log that an error shows.
const LOG_TAIL_LINES: usize = 30;

/// How `thalweg` is run.
#[derive(Debug, Clone)]
pub struct Binary {
    /// The executable.
    pub path: PathBuf,
    /// Arguments before thalweg's own.
    pub prefix: Vec<String>,
}

impl Binary {
    /// The `thalweg` beside this executable.
    pub fn beside_this() -> Result<Self> {
        let path = std::env::current_exe()?.with_file_name("thalweg");
        if !path.exists() {
            bail!("there is no `{}`; build it with `cargo build --workspace --bins`", path.display());
        }
        Ok(Self { path, prefix: Vec::new() })
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.prefix);
        command
    }
}

/// One process under a guard, which kills it when its input closes.
#[derive(Debug)]
pub struct Node {
    /// Its process id.
    pub pid: u32,
    log: PathBuf,
    guard: Child,
}

impl Node {
    fn start(command: &Command, log: PathBuf) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("services/guard.sh");
        let mut guarded = Command::new(script);
        guarded.arg(&log).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(name, value),
                None => guarded.env_remove(name),
            };
        }
        let mut guard = guarded.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn()?;
        let mut line = String::new();
        BufReader::new(guard.stdout.take().expect("standard output is piped")).read_line(&mut line)?;
        let pid = line.trim().parse().with_context(|| format!("guard.sh printed `{line}`"))?;
        Ok(Self { pid, log, guard })
    }

    /// Ends the process with SIGKILL, as a crash would.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: kill has no memory preconditions.
        unsafe { libc::kill(self.pid as libc::pid_t, signal) };
    }

    /// A number of `/proc/PID/status` in bytes: `VmRSS`, `VmHWM`.
    pub fn memory_bytes(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }

    /// CPU time used so far, of all its threads.
    pub fn cpu_time(&self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name in parentheses may contain spaces; after it, user and system time are the 12th and 13th fields.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        // SAFETY: sysconf has no preconditions.
        let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64;
        Some(Duration::from_millis(ticks * 1000 / ticks_per_second))
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

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
    /// Host names of the workers, one worker each.
    pub hosts: Vec<String>,
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
            options: Options::default(),
            environment: Vec::new(),
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// The control ports, `host:port`, separated by commas.
    pub address: String,
    ports: Mutex<Vec<u16>>,
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
        let ports = free_ports(config.members.max(1))?;
        let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
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
        if config.worker_binary.is_some() {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
            fs::set_permissions(folder.path().join("tmp"), fs::Permissions::from_mode(0o777))?;
        }
        fs::write(folder.path().join("config.yaml"), config_text(&options))?;
        let job_managers = ports.iter().enumerate();
        let job_managers = job_managers
            .map(|(index, port)| start_job_manager(&config, folder.path(), index, *port))
            .collect::<Result<_>>()?;
        let http = reqwest::Client::builder().timeout(READY_TIMEOUT).build()?;
        let hosts = config.hosts.clone();
        let (job_managers, ports) = (Mutex::new(job_managers), Mutex::new(ports));
        let (workers, started) = (Mutex::default(), Mutex::new(0));
        let cluster = Self { address, ports, job_managers, config, workers, started, http, folder };
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

    /// Starts a JobManager in the place of one that was killed.
    pub async fn replace_job_manager(&self, index: usize) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let port = self.ports.lock()[index];
        // Its port is free when nobody answers there.
        while TcpStream::connect(("127.0.0.1", port)).is_ok() {
            ensure!(Instant::now() < deadline, "the JobManager does not die");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let node = start_job_manager(&self.config, self.folder.path(), index, port)?;
        self.job_managers.lock()[index] = node;
        Ok(())
    }

    /// Starts one more JobManager, which waits to be added to the quorum; returns its control port's address.
    pub fn add_job_manager(&self) -> Result<String> {
        let port = free_ports(1)?[0];
        let index = self.ports.lock().len();
        let mut config = self.config.clone();
        config.options.0.insert("high-availability.raft.members".to_owned(), String::new());
        let node = start_job_manager(&config, self.folder.path(), index, port)?;
        self.ports.lock().push(port);
        self.job_managers.lock().push(node);
        Ok(format!("127.0.0.1:{port}"))
    }

    /// The JobManager that leads, by its position, once a majority confirms it; not one of those in `except`.
    pub async fn leader(&self, except: &[usize]) -> Result<usize> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let ports = self.ports.lock().clone();
            for (index, port) in ports.iter().enumerate().filter(|(index, _)| !except.contains(index)) {
                if self.speaks_tls() {
                    let asking = self.get_by_tls(*port, "/v1/overview");
                    match tokio::time::timeout(LEADER_TIMEOUT, asking).await {
                        Ok(Ok(_)) => return Ok(index),
                        Ok(Err(_)) | Err(_) => continue,
                    }
                }
                let url = format!("http://127.0.0.1:{port}/v1/overview");
                let asking = self.no_redirect()?.get(url).timeout(LEADER_TIMEOUT).send().await;
                if asking.is_ok_and(|answer| answer.status().is_success()) {
                    return Ok(index);
                }
            }
            ensure!(Instant::now() < deadline, "no JobManager leads\n{}", self.logs());
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The control port of a JobManager.
    pub fn member_address(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.ports.lock()[index])
    }

    /// Bytes in the folder of a member of the quorum.
    pub fn member_folder_bytes(&self, index: usize) -> Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.folder.path().join(format!("member{}", index + 1)))? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }

    fn no_redirect(&self) -> Result<reqwest::Client> {
        Ok(reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?)
    }

    /// Starts one more worker that calls itself `host`; returns its position. See [`Self::wait_for_workers`].
    pub fn add_worker(&self, host: &str) -> Result<usize> {
        let number = {
            let mut started = self.started.lock();
            *started += 1;
            *started
        };
        let binary = self.config.worker_binary.as_ref().unwrap_or(&self.config.binary);
        let mut command = binary.command();
        command.arg("worker").arg("--config").arg(self.folder.path().join("config.yaml"));
        command.arg("--jobmanager").arg(&self.address).arg("--slots").arg(self.config.slots.to_string());
        command.arg("-D").arg(format!("taskmanager.host={host}"));
        command.envs(self.config.environment.iter().map(|(name, value)| (name, value)));
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

    /// Asks the REST API: of several JobManagers the first that answers or sends to the one that leads.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let mut problem = None;
        let ports = self.ports.lock().clone();
        for port in &ports {
            if self.speaks_tls() {
                match self.get_by_tls(*port, path).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => problem = Some(error),
                }
                continue;
            }
            let asking = self.http.get(format!("http://127.0.0.1:{port}{path}"));
            let asking = if ports.len() > 1 { asking.timeout(LEADER_TIMEOUT) } else { asking };
            match asking.send().await.and_then(reqwest::Response::error_for_status) {
                Ok(answer) => return Ok(answer.json().await?),
                Err(error) => problem = Some(error.into()),
            }
        }
        Err(problem.context("there is a JobManager")?)
    }

    fn speaks_tls(&self) -> bool {
        self.config.options.get(&options::SSL_ENABLED).unwrap_or_default()
    }

    async fn get_by_tls(&self, port: u16, path: &str) -> Result<Value> {
        certificates::get(&self.config.options, &format!("127.0.0.1:{port}"), path).await
    }

    /// What clients need to come in.
    pub fn client_options(&self) -> Options {
        let options = self.config.options.0.iter().filter(|(name, _)| name.starts_with("security.ssl."));
        options.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// The URL of a REST path.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.speaks_tls() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}{path}", self.ports.lock()[0])
    }

    /// The ends of all logs, for the message of a failed test.
    pub fn logs(&self) -> String {
        let (job_managers, workers) = (self.job_managers.lock(), self.workers.lock());
        let nodes = job_managers.iter().chain(workers.iter());
        nodes.map(|node| format!("--- {}\n{}\n", node.log.display(), node.log_tail())).collect()
    }
}

fn start_job_manager(config: &ClusterConfig, folder: &Path, index: usize, port: u16) -> Result<Node> {
    let mut command = config.binary.command();
    command.arg("jobmanager").arg("--config").arg(folder.join("config.yaml"));
    command.arg("-D").arg(format!("rest.port={port}"));
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
    let log =
        if config.members > 0 { format!("jobmanager{number}.log") } else { "jobmanager.log".to_owned() };
    Node::start(&command, folder.join(log))
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
