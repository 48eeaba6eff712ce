//! A process under a guard: gone with this one, however it ends.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

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
    /// Where its output goes.
    pub log: PathBuf,
    guard: Child,
}

impl Node {
    /// Starts it with its output in a file.
    pub fn start(command: &Command, log: PathBuf) -> Result<Self> {
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

    /// Whether it has ended, all its threads included: the last of them gives back its files and their locks.
    pub fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).map_or(0, Iterator::count);
        threads <= 1 && state.is_none_or(|state| matches!(state, "Z" | "X"))
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
