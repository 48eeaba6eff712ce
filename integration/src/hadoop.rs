//! A real HDFS (one NameNode, or two behind a name service, and DataNodes), started from `integration/services/hadoop` and gone with this process.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{namespaces::Namespaces, web_hdfs::WebHdfs};

/// The user who started HDFS, who may do everything there.
const SUPERUSER_VARIABLE: &str = "USER";
/// The address at which all of its processes listen, for the scripts.
const HOST_VARIABLE: &str = "THALWEG_HDFS_HOST";

/// A running HDFS. `run.sh` ends it when the pipe to its standard input closes, which happens at the latest when this process ends, in
/// whichever way.
#[derive(Debug)]
pub struct Hdfs {
    /// `hdfs://host:port`.
    pub url: String,
    /// The NameNode's web address; of two, that of `namenode1`, which is active at first.
    pub web: String,
    /// The web address of `namenode2`, where there are two.
    standby: Option<String>,
    folder: PathBuf,
    guard: Child,
}

impl Hdfs {
    /// The HDFS that all tests of this process share, started at the first call.
    pub fn shared() -> &'static Hdfs {
        static SHARED: OnceLock<Hdfs> = OnceLock::new();
        SHARED.get_or_init(|| Hdfs::start().unwrap_or_else(|error| panic!("HDFS did not start: {error:#}")))
    }

    /// Starts one with two DataNodes and waits until files can be written.
    pub fn start() -> Result<Self> {
        Self::run(command(&["2"]))
    }

    /// Starts one with two NameNodes behind a name service, `namenode1` active and `namenode2` on standby, and one DataNode.
    pub fn start_with_standby() -> Result<Self> {
        Self::run(command(&["1", "ha"]))
    }

    /// Starts one with one DataNode as a node of a network.
    pub fn start_in(network: &Namespaces, node: &str) -> Result<Self> {
        // From there the world is not reached.
        run(&mut Command::new(script("fetch.sh")))?;
        let mut command = command(&["1"]);
        command.env(HOST_VARIABLE, network.address(node)?);
        Self::run(network.inside(node, &command)?)
    }

    fn run(mut command: Command) -> Result<Self> {
        let mut guard = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in the terminal ends the tests; the guard then sees its input close and cleans up.
            .process_group(0)
            .spawn()
            .context("run.sh")?;
        let output = guard.stdout.take().expect("standard output is piped");
        let (mut url, mut web, mut standby, mut folder) = (None, None, None, None);
        for line in BufReader::new(output).lines() {
            let line = line?;
            match line.split_once('=') {
                Some(("namenode", value)) => url = Some(value.to_owned()),
                Some(("web", value)) => web = Some(value.to_owned()),
                Some(("standby", value)) => standby = Some(value.to_owned()),
                Some(("data", value)) => folder = Some(PathBuf::from(value)),
                _ if line == "ready" => break,
                _ => bail!("run.sh printed `{line}`"),
            }
        }
        match (url, web, folder) {
            (Some(url), Some(web), Some(folder)) => Ok(Self { url, web, standby, folder, guard }),
            _ => bail!("HDFS ended while it started ({})", guard.wait()?),
        }
    }

    /// The URL of a path.
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// A `HADOOP_CONF_DIR` for clients.
    pub fn conf_dir(&self) -> PathBuf {
        self.folder.join("conf/client")
    }

    /// A client as superuser.
    pub fn client(&self) -> WebHdfs {
        self.client_as(&superuser())
    }

    /// A client as some user.
    pub fn client_as(&self, user: &str) -> WebHdfs {
        WebHdfs::new(&self.web, user).expect("an HTTP client can be made")
    }

    /// Kills a node: `namenode`, `datanode1`, `datanode2`.
    pub fn kill(&self, role: &str) -> Result<()> {
        run(Command::new(script("stop.sh")).arg(&self.folder).arg(role))
    }

    /// Makes `namenode2` the active one, after `namenode1` was killed; returns a client of it as superuser.
    pub fn fail_over(&self) -> Result<WebHdfs> {
        let standby = self.standby.as_ref().context("there is one NameNode only")?;
        run(Command::new(script("activate.sh")).arg(&self.folder).arg("nn2"))?;
        WebHdfs::new(standby, &superuser())
    }

    /// Brings back what was killed, on its old ports, and waits until all is ready.
    pub fn restart(&self) -> Result<()> {
        run(Command::new(script("start.sh")).arg(&self.folder))
    }
}

impl Drop for Hdfs {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Waits, so that nothing of it is left when the next thing starts.
        let _ = self.guard.wait();
    }
}

fn superuser() -> String {
    // SAFETY: geteuid has no preconditions and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    let named = std::env::var(SUPERUSER_VARIABLE).ok().filter(|name| !name.is_empty());
    named.filter(|_| !root).unwrap_or_else(|| "root".to_owned())
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(script("run.sh"));
    command.args(arguments);
    command
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("services/hadoop").join(name)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
