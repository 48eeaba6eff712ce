//! A network of this machine's own: a namespace for each node, joined by one that routes between them, in which links are cut. Packets over a cut
//! link vanish: nobody is refused, and nobody is told. Made by `integration/services/network/run.sh`; gone with this process, however it ends.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use anyhow::{Context as _, Result, bail, ensure};

/// This process, seen as a node.
pub const CLIENT: &str = "client";
/// Where the rules of cuts begin: before those that find a way.
const FIRST_PREFERENCE: u32 = 100;

/// The namespaces of some nodes.
#[derive(Debug)]
pub struct Namespaces {
    router: String,
    nodes: BTreeMap<String, Node>,
    next_preference: AtomicU32,
    guard: Child,
}

#[derive(Debug)]
struct Node {
    /// `None` for this process, which stays where it is.
    namespace: Option<String>,
    address: String,
}

/// Which packets of a cut link vanish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ways {
    /// Those of the one side to the other.
    One,
    /// All.
    Both,
}

/// Links that are cut for as long as this is there.
#[derive(Debug)]
#[must_use]
pub struct Cut<'a> {
    namespaces: &'a Namespaces,
    rules: Vec<String>,
}

impl Namespaces {
    /// Makes them; fails where this process may not, or the system cannot.
    pub fn start(nodes: &[String]) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("services/network/run.sh");
        let mut guard = Command::new(script)
            .args(nodes)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in the terminal ends the tests; the guard then sees its input close and cleans up.
            .process_group(0)
            .spawn()
            .context("network/run.sh")?;
        let output = guard.stdout.take().expect("standard output is piped");
        let (mut router, mut nodes) = (None, BTreeMap::new());
        for line in BufReader::new(output).lines() {
            let line = line?;
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["router", namespace] => router = Some(namespace.to_owned()),
                [CLIENT, address] => {
                    nodes.insert(CLIENT.to_owned(), Node { namespace: None, address: address.to_owned() });
                }
                [node, namespace, address] => {
                    let (namespace, address) = (Some(namespace.to_owned()), address.to_owned());
                    nodes.insert(node.to_owned(), Node { namespace, address });
                }
                ["ready"] => {
                    let router = router.context("network/run.sh named no router")?;
                    let next_preference = AtomicU32::new(FIRST_PREFERENCE);
                    return Ok(Self { router, nodes, next_preference, guard });
                }
                _ => bail!("network/run.sh printed `{line}`"),
            }
        }
        let output = guard.wait_with_output()?;
        bail!("network/run.sh: {}, {}", output.status, String::from_utf8_lossy(&output.stderr).trim())
    }

    /// The address of a node.
    pub fn address(&self, node: &str) -> Result<&str> {
        Ok(&self.node(node)?.address)
    }

    /// The same command, run by a node.
    pub fn inside(&self, node: &str, command: &Command) -> Result<Command> {
        let namespace = self.node(node)?.namespace.as_deref();
        let namespace = namespace.with_context(|| format!("`{node}` is no namespace"))?;
        let mut inside = Command::new("ip");
        // It becomes the command: the process id stays.
        inside.args(["netns", "exec", namespace]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        Ok(inside)
    }

    /// Cuts each of some nodes off from each of others, until the cut is dropped.
    pub fn cut<S: AsRef<str>, T: AsRef<str>>(&self, from: &[S], to: &[T], ways: Ways) -> Result<Cut<'_>> {
        let preference = self.next_preference.fetch_add(1, Relaxed);
        let mut rules = Vec::new();
        for from in from {
            let from = self.address(from.as_ref())?;
            for to in to {
                let to = self.address(to.as_ref())?;
                rules.push(format!("from {from} to {to} blackhole pref {preference}"));
                if ways == Ways::Both {
                    rules.push(format!("from {to} to {from} blackhole pref {preference}"));
                }
            }
        }
        self.change_rules("add", &rules)?;
        Ok(Cut { namespaces: self, rules })
    }

    fn node(&self, node: &str) -> Result<&Node> {
        self.nodes.get(node).with_context(|| format!("there is no node `{node}`"))
    }

    fn change_rules(&self, verb: &str, rules: &[String]) -> Result<()> {
        let mut ip = Command::new("ip")
            .args(["-n", &self.router, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("ip (package iproute2)")?;
        let mut input = ip.stdin.take().expect("standard input is piped");
        rules.iter().try_for_each(|rule| writeln!(input, "rule {verb} {rule}"))?;
        drop(input);
        let output = ip.wait_with_output()?;
        ensure!(output.status.success(), "ip rule {verb}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Waits, so that nothing of it is left when the next thing starts.
        let _ = self.guard.wait();
    }
}

impl Cut<'_> {
    /// Mends the links.
    pub fn heal(mut self) -> Result<()> {
        let rules = std::mem::take(&mut self.rules);
        self.namespaces.change_rules("del", &rules)
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        if !self.rules.is_empty() {
            // What cannot be mended goes with the namespaces.
            let _ = self.namespaces.change_rules("del", &self.rules);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        net::{SocketAddr, TcpListener, TcpStream},
        time::Duration,
    };

    use super::*;

    /// Behind this, nobody answers.
    const SILENCE: Duration = Duration::from_millis(300);
    /// Time to answer on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn connect(address: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
        TcpStream::connect_timeout(&address, patience)
    }

    /// How `timeout` ends when bash opens a connection from a node: 0 where it could, 124 where nobody answered.
    fn opens(namespaces: &Namespaces, node: &str, address: SocketAddr, patience: Duration) -> Option<i32> {
        let mut command = Command::new("timeout");
        let opens = format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port());
        let patience = patience.as_secs_f64().to_string();
        command.args([&patience, "bash", "-c", &opens]).stderr(Stdio::null());
        namespaces.inside(node, &command).unwrap().status().unwrap().code()
    }

    fn reaches(namespaces: &Namespaces, node: &str, address: SocketAddr) -> bool {
        opens(namespaces, node, address, PATIENCE) == Some(0)
    }

    fn is_silent(namespaces: &Namespaces, node: &str, address: SocketAddr) -> bool {
        opens(namespaces, node, address, SILENCE) == Some(124)
    }

    #[test]
    fn what_is_cut_is_silent_until_it_is_mended() {
        // SAFETY: geteuid has no preconditions and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            return eprintln!("not root: no network namespaces, nothing is tested here");
        }
        let namespaces = Namespaces::start(&["a".to_owned(), "b".to_owned()]).unwrap();
        let listener = TcpListener::bind((namespaces.address(CLIENT).unwrap(), 0)).unwrap();
        let here = listener.local_addr().unwrap();
        assert!(reaches(&namespaces, "a", here) && reaches(&namespaces, "b", here));

        let cut = namespaces.cut(&["a"], &[CLIENT], Ways::Both).unwrap();
        assert!(is_silent(&namespaces, "a", here) && reaches(&namespaces, "b", here));
        let nobody: SocketAddr = format!("{}:9", namespaces.address("a").unwrap()).parse().unwrap();
        assert_eq!(
            connect(nobody, SILENCE).unwrap_err().kind(),
            ErrorKind::TimedOut,
            "silence, not a refusal"
        );
        cut.heal().unwrap();
        assert_eq!(connect(nobody, PATIENCE).unwrap_err().kind(), ErrorKind::ConnectionRefused);

        // One way: what it asks comes, what is answered does not.
        let cut = namespaces.cut(&[CLIENT], &["b"], Ways::One).unwrap();
        assert!(is_silent(&namespaces, "b", here));
        drop(cut);
        assert!(reaches(&namespaces, "b", here));
    }

    #[test]
    fn they_are_gone_with_whoever_made_them() {
        // SAFETY: geteuid has no preconditions and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            return eprintln!("not root: no network namespaces, nothing is tested here");
        }
        let namespaces = Namespaces::start(&["a".to_owned()]).unwrap();
        let router = namespaces.router.clone();
        let list = || {
            let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(list().contains(&router));
        drop(namespaces);
        assert!(!list().contains(&router));

        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("services/network/run.sh");
        let mut guard =
            Command::new(script).arg("a").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let killed = line.trim().strip_prefix("router ").unwrap().to_owned();
        guard.kill().unwrap();
        guard.wait().unwrap();
        assert!(list().contains(&killed), "nobody could clean up");
        drop(Namespaces::start(&["a".to_owned()]).unwrap());
        assert!(!list().contains(&killed), "the next one does");
    }
}
