//! A JobManager and a worker as processes of their own, on ports that were free.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Stdio},
};

use crate::thalweg::{Said, command, thalweg};

/// Both processes; stopped by SIGTERM and waited for when the test is over.
struct Cluster {
    address: String,
    job_manager: Child,
    worker: Child,
    /// Kept open, so that the processes can go on writing.
    _stdout: [BufReader<ChildStdout>; 2],
}

impl Cluster {
    fn start() -> Self {
        let (job_manager, line, first) = start(&["jobmanager", "-D", "rest.port=0"]);
        let address = line.trim().strip_prefix("JobManager ready at http://").unwrap().to_owned();
        let (worker, line, second) = start(&["worker", "--jobmanager", &address, "--slots", "2"]);
        assert!(line.contains(" ready with 2 slots") && !line.contains(":0-"), "{line}");
        Self { address, job_manager, worker, _stdout: [first, second] }
    }

    fn run(&self, arguments: &[&str]) -> Said {
        thalweg(&[arguments, &["-m", &self.address]].concat())
    }
}

/// Starts a process and waits for the line that says it is ready.
fn start(arguments: &[&str]) -> (Child, String, BufReader<ChildStdout>) {
    let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    (child, line, stdout)
}

fn terminate(child: &mut Child) -> i32 {
    // SAFETY: the child has not been waited for, so the id is its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    child.wait().unwrap().code().unwrap_or(-1)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let codes = [terminate(&mut self.worker), terminate(&mut self.job_manager)];
        if !std::thread::panicking() {
            assert_eq!(codes, [0, 0], "both end in order");
        }
    }
}

const ENDLESS: &str = "\
CREATE TABLE d (id BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '1000000000000');
SELECT COUNT(*) FROM d WHERE id % 7 = 3;";

#[test]
fn scripts_run_attached_and_detached_and_jobs_are_listed_and_cancelled() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };

    let query = write("query.sql", "SELECT COUNT(*) AS n FROM (VALUES (1), (2)) AS t (a);");
    let attached = cluster.run(&["run", "-o", "csv", &query]);
    assert_eq!((attached.code, attached.stdout.as_str()), (0, "n\n2\n"), "{}", attached.stderr);
    assert!(attached.stderr.contains("Job has been submitted with JobID "));

    let endless = write("endless.sql", ENDLESS);
    let detached = cluster.run(&["run", "-d", &endless]);
    let job = detached.stdout.trim().strip_prefix("Job has been submitted with JobID ").unwrap();
    assert_eq!((detached.code, job.len()), (0, 32));
    let listed = cluster.run(&["list", "-a"]);
    assert!(listed.stdout.contains(job), "{}", listed.stdout);
    let cancelled = cluster.run(&["cancel", job]);
    assert_eq!(
        (cancelled.code, cancelled.stdout),
        (0, format!("Cancelled job {job}.\n")),
        "{}",
        cancelled.stderr
    );
    let listed = cluster.run(&["list", "-a"]);
    assert!(listed.stdout.contains("(CANCELED)"), "{}", listed.stdout);

    let wrong = write("wrong.sql", "SELECT 1;\nSELECT nope FROM (VALUES (1)) AS t (a);");
    let failed = cluster.run(&["run", "-o", "csv", &wrong]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("2 | SELECT nope FROM"), "{}", failed.stderr);
}

#[test]
fn the_shell_runs_its_jobs_on_a_cluster() {
    let cluster = Cluster::start();
    let script =
        "CREATE TEMPORARY VIEW v AS SELECT 20 AS a;\nSET 'pipeline.name' = 'sum';\nSELECT a + 1 AS b FROM v;";
    let said = cluster.run(&["sql", "-e", script, "-o", "csv"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "b\n21\n"), "{}", said.stderr);
}

#[test]
fn who_is_not_there_is_named() {
    let said = thalweg(&["list", "-m", "127.0.0.1:1"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("cannot reach the JobManager at `127.0.0.1:1`"), "{}", said.stderr);
    let said = thalweg(&["jobmanager", "-D", "rest.bind-address=0.0.0.0", "-D", "rest.port=0"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("--insecure"), "{}", said.stderr);
}
