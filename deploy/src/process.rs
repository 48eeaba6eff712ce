//! Workers as processes of the same binary on this host. They are ended by their ids, and with the process that started them.

use std::{collections::BTreeMap, ffi::OsString, io, path::PathBuf, process::Stdio, time::Duration};

use async_trait::async_trait;
use thalweg_graph::{Options, options, secret::is_secret};
use tokio::{
    process::{Child, Command},
    sync::Mutex,
    time,
};

use crate::deployment::{Container, Deployment, Error};

/// How workers are started.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// The program; in production this very binary.
    pub program: PathBuf,
    /// Its arguments before `--jobmanager <leader>`.
    pub arguments: Vec<OsString>,
    /// What it finds in its environment, which only its user can see.
    pub environment: Vec<(OsString, OsString)>,
    /// Time for an orderly end before it is enforced.
    pub stop_timeout: Duration,
}

impl ProcessConfig {
    /// Workers of this binary with these options, `insecure` as their JobManager is. Secrets go by the environment: arguments are shown to
    /// every user of the host.
    pub fn this_binary(options: &Options, insecure: bool) -> io::Result<Self> {
        let (secret, open): (Vec<_>, Vec<_>) = options.0.iter().partition(|(name, _)| is_secret(name));
        let define =
            |(name, value): (&String, &String)| [OsString::from("-D"), format!("{name}={value}").into()];
        let mut arguments = vec![OsString::from("worker")];
        arguments.extend(insecure.then(|| OsString::from("--insecure")));
        arguments.extend(open.into_iter().flat_map(define));
        let secret: Vec<String> = secret.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let environment = vec![(options::ENVIRONMENT.into(), secret.join("\n").into())];
        let program = std::env::current_exe()?;
        Ok(Self { program, arguments, environment, stop_timeout: Duration::from_secs(10) })
    }
}

/// Starts workers as processes.
#[derive(Debug)]
pub struct Process {
    config: ProcessConfig,
    children: Mutex<BTreeMap<Container, Child>>,
}

impl Process {
    /// No process yet.
    pub fn new(config: ProcessConfig) -> Self {
        Self { config, children: Mutex::default() }
    }

    fn start(&self, leader: &str) -> Result<(Container, Child), Error> {
        let program = self.config.program.display().to_string();
        let mut command = Command::new(&self.config.program);
        command.args(&self.config.arguments).arg("--jobmanager").arg(leader);
        command.envs(self.config.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let start_error = |source| Error::Start { program: program.clone(), source };
        let child = command.spawn().map_err(start_error)?;
        let id = child.id().ok_or_else(|| start_error(io::Error::other("it ended at once")))?;
        tracing::info!(pid = id, program, "started a worker");
        Ok((Container { id: id.to_string() }, child))
    }

    async fn stop(&self, container: &Container, mut child: Child) -> Result<(), Error> {
        let stop_error = |source| Error::Stop { container: container.id.clone(), source };
        let Some(pid) = child.id() else { return Ok(()) };
        let pid = libc::pid_t::try_from(pid).map_err(|error| stop_error(io::Error::other(error)))?;
        // SAFETY: a plain system call; the process is our child and was not waited for, so the id is still its own.
        if unsafe { libc::kill(pid, libc::SIGTERM) } != 0 {
            return Err(stop_error(io::Error::last_os_error()));
        }
        let ended = match time::timeout(self.config.stop_timeout, child.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => {
                tracing::warn!(pid, "the worker does not end in time and is killed");
                child.kill().await
            }
        };
        ended.map_err(stop_error)
    }
}

#[async_trait]
impl Deployment for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn start_workers(&self, leader: &str, count: u32) -> Result<Vec<Container>, Error> {
        // If one fails those before it end when they are dropped.
        let started = (0..count).map(|_| self.start(leader)).collect::<Result<Vec<_>, _>>()?;
        let containers = started.iter().map(|(container, _)| container.clone()).collect();
        self.children.lock().await.extend(started);
        Ok(containers)
    }

    async fn stop_worker(&self, container: &Container) -> Result<(), Error> {
        let child = self.children.lock().await.remove(container);
        let child = child.ok_or_else(|| Error::UnknownContainer(container.id.clone()))?;
        self.stop(container, child).await
    }

    async fn stop_all(&self) -> Result<(), Error> {
        let children = std::mem::take(&mut *self.children.lock().await);
        let mut first_error = Ok(());
        for (container, child) in children {
            let stopped = self.stop(&container, child).await;
            first_error = first_error.and(stopped);
        }
        first_error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, stop_timeout: Duration) -> Process {
        let arguments = ["-c", script, "worker"].map(OsString::from).into();
        Process::new(ProcessConfig {
            program: "/bin/sh".into(),
            arguments,
            environment: Vec::new(),
            stop_timeout,
        })
    }

    fn is_alive(container: &Container) -> bool {
        std::path::Path::new(&format!("/proc/{}", container.id)).exists()
    }

    #[tokio::test]
    async fn workers_are_started_and_ended_by_their_ids() {
        let process = shell("exec sleep 600", Duration::from_secs(10));
        let containers = process.start_workers("host:1", 2).await.unwrap();
        assert!(containers.iter().all(is_alive));
        process.stop_worker(&containers[0]).await.unwrap();
        assert!(!is_alive(&containers[0]) && is_alive(&containers[1]));
        assert!(matches!(process.stop_worker(&containers[0]).await, Err(Error::UnknownContainer(_))));
        process.stop_all().await.unwrap();
        assert!(!is_alive(&containers[1]));
    }

    #[tokio::test]
    async fn a_worker_that_does_not_want_to_end_is_killed() {
        let process = shell("trap '' TERM; while :; do :; done", Duration::from_millis(50));
        let containers = process.start_workers("host:1", 1).await.unwrap();
        process.stop_all().await.unwrap();
        assert!(!is_alive(&containers[0]));
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let config = ProcessConfig {
            program: "/does/not/exist".into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            stop_timeout: Duration::from_secs(1),
        };
        let error = Process::new(config).start_workers("host:1", 1).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot start a worker from `/does/not/exist`");
    }
}
