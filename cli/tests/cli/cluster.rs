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
fn a_job_manager_starts_workers_that_end_with_it() {
    let (mut job_manager, line, mut stdout) = start(&["jobmanager", "-D", "rest.port=0", "--workers", "2"]);
    // The workers' lines may come first.
    let mut lines = vec![line];
    while lines.len() < 3 {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        lines.push(line);
    }
    let address =
        lines.iter().find_map(|line| line.trim().strip_prefix("JobManager ready at http://")).unwrap();
    let said = thalweg(&["sql", "-m", address, "-e", "SELECT 20 + 1 AS b", "-o", "csv"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "b\n21\n"), "{}", said.stderr);
    assert_eq!(terminate(&mut job_manager), 0);
    // Whoever could still write has ended.
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).unwrap();
}

#[test]
fn the_shell_lists_jobs_and_stops_one() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("endless.sql");
    fs::write(&script, ENDLESS).unwrap();
    let detached = cluster.run(&["run", "-d", "-N", "endless", script.to_str().unwrap()]);
    let job = detached.stdout.trim().strip_prefix("Job has been submitted with JobID ").unwrap();
    let listed = cluster.run(&["sql", "-e", "SHOW JOBS", "-o", "csv"]);
    assert!(
        listed.stdout.starts_with(&format!("job id,job name,status,start time\n{job},endless,")),
        "{}",
        listed.stdout
    );
    let stopped = cluster.run(&["sql", "-e", &format!("STOP JOB '{job}'; SHOW JOBS;"), "-o", "csv"]);
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    assert!(stopped.stdout.contains(",endless,CANCELED,"), "{}", stopped.stdout);
    let malformed = cluster.run(&["sql", "-e", "STOP JOB 'x'"]);
    assert!(
        malformed.stderr.contains("expected the id of a job, 32 hexadecimal digits"),
        "{}",
        malformed.stderr
    );
}

#[test]
fn mistakes_are_told_in_one_line() {
    let cluster = Cluster::start();
    let job = "0123456789abcdef0123456789abcdef";
    let unknown = cluster.run(&["cancel", job]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.stderr.ends_with(&format!("error: could not cancel job {job}: there is no job `{job}`\n")),
        "{}",
        unknown.stderr
    );
    let malformed = cluster.run(&["cancel", "12"]);
    assert_eq!(malformed.code, 2);
    assert!(malformed.stderr.starts_with("error: invalid value '12' for '<JOB>': "), "{}", malformed.stderr);
    let savepoint = cluster.run(&["cancel", "-s", "/savepoints", job]);
    assert_eq!(savepoint.code, 1);
    assert!(savepoint.stderr.contains("use `thalweg stop -p"), "{}", savepoint.stderr);
    for verb in [vec!["stop", "-p", "/savepoints"], vec!["savepoint"], vec!["checkpoint"]] {
        let said = cluster.run(&[verb, vec![job]].concat());
        assert_eq!(said.code, 1);
        assert!(said.stderr.contains(&format!("there is no job `{job}`")), "{}", said.stderr);
    }
    let missing = cluster.run(&["run", "/no/such/script.sql"]);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("cannot read the script `/no/such/script.sql`"), "{}", missing.stderr);
    let listed = cluster.run(&["list", "-r", "-s"]);
    assert_eq!((listed.code, listed.stdout.as_str()), (0, "No running jobs.\nNo scheduled jobs.\n"));
    let listed = cluster.run(&["list", "-s"]);
    assert_eq!(listed.stdout, "No scheduled jobs.\n");
}

#[test]
fn who_is_not_there_is_named() {
    let job = "0123456789abcdef0123456789abcdef";
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("query.sql");
    fs::write(&script, "SELECT 1;").unwrap();
    let script = script.to_str().unwrap();
    for arguments in
        [&["list"][..], &["cancel", job], &["run", script], &["info", script], &["sql", "-f", script]]
    {
        let said = thalweg(&[arguments, &["-m", "127.0.0.1:1"]].concat());
        assert_eq!(said.code, 1);
        let reason = "cannot reach the JobManager at `127.0.0.1:1`: Connection refused (os error 111)\n";
        assert!(said.stderr.ends_with(reason), "{arguments:?}: {}", said.stderr);
        let said = thalweg(&[arguments, &["-m", "host:port"]].concat());
        assert_eq!(said.code, 1);
        assert_eq!(said.stderr, "error: `host:port` is not an address: expected `host:port`\n");
    }
    let said = thalweg(&["jobmanager", "-D", "rest.bind-address=0.0.0.0", "-D", "rest.port=0"]);
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("--insecure"), "{}", said.stderr);
}

#[test]
fn a_cluster_with_a_secret_lets_in_who_knows_it_or_has_a_token() {
    let secret = "security.cluster.secret=0123456789abcdef";
    let login = "security.rest.loopback-login=true";
    let (mut job_manager, line, _first) =
        start(&["jobmanager", "-D", "rest.port=0", "-D", secret, "-D", login]);
    let address = line.trim().strip_prefix("JobManager ready at http://").unwrap().to_owned();
    let (mut worker, _, _second) = start(&["worker", "-m", &address, "-D", secret]);
    let on_cluster = |arguments: &[&str]| thalweg(&[arguments, &["-m", &address]].concat());

    let refused = on_cluster(&["list"]);
    assert!(refused.code == 1 && refused.stderr.contains("thalweg token create"), "{}", refused.stderr);
    let refused = on_cluster(&["token", "create", "--role", "admin"]);
    assert!(refused.code == 1 && refused.stderr.contains("a token is needed"), "{}", refused.stderr);
    let refused = on_cluster(&["token", "list", "-D", "security.cluster.secret=another secret than theirs"]);
    assert!(refused.code == 1 && refused.stderr.contains("is another than there"), "{}", refused.stderr);

    let made = on_cluster(&[
        "token",
        "create",
        "--role",
        "submit",
        "--name",
        "ci",
        "--expires",
        "1 h",
        "-D",
        secret,
    ]);
    let token = made.stdout.trim();
    assert!(made.code == 0 && token.starts_with("thalweg_"), "{}", made.stderr);
    let said = on_cluster(&["sql", "-e", "SELECT 20 + 1 AS b", "-o", "csv", "--token", token]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "b\n21\n"), "{}", said.stderr);
    let refused = on_cluster(&["token", "list", "--token", token]);
    assert!(refused.code == 1 && refused.stderr.contains("needs the role `admin`"), "{}", refused.stderr);
    let listed = on_cluster(&["token", "list", "-D", secret]);
    assert!(
        listed.stdout.starts_with("ci ") && listed.stdout.contains("by cluster secret"),
        "{}",
        listed.stdout
    );
    assert!(!listed.stdout.contains(token));
    assert_eq!(on_cluster(&["token", "revoke", "ci", "-D", secret]).code, 0);
    let refused = on_cluster(&["list", "--token", token]);
    assert!(refused.code == 1 && refused.stderr.contains("was revoked"), "{}", refused.stderr);
    assert_eq!([terminate(&mut worker), terminate(&mut job_manager)], [0, 0]);
}

#[test]
fn scripts_name_only_what_the_operator_allows() {
    let folder = tempfile::tempdir().unwrap();
    let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
    for place in [&inside, &outside] {
        fs::create_dir(place).unwrap();
        fs::write(place.join("rows.csv"), "1\n").unwrap();
    }
    let allow = format!("security.paths.allow={}", inside.display());
    let (mut job_manager, line, mut stdout) =
        start(&["jobmanager", "-D", "rest.port=0", "--workers", "1", "-D", &allow]);
    let mut lines = vec![line];
    while lines.len() < 2 {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        lines.push(line);
    }
    let address =
        lines.iter().find_map(|line| line.trim().strip_prefix("JobManager ready at http://")).unwrap();
    let read = |path: &str| {
        let script = format!(
            "CREATE TABLE t (a INT) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'csv'); SELECT a FROM t;"
        );
        thalweg(&["sql", "-m", address, "-e", &script, "-o", "csv"])
    };
    let said = read(inside.to_str().unwrap());
    assert_eq!((said.code, said.stdout.as_str()), (0, "a\n1\n"), "{}", said.stderr);
    for path in [
        outside.display().to_string(),
        format!("file:{}/../out", inside.display()),
        format!("file://{}/%2e%2e/out", inside.display()),
    ] {
        let refused = read(&path);
        let names =
            refused.stderr.contains("jobs may not name") && refused.stderr.contains("security.paths.allow");
        assert!(refused.code == 1 && names, "{path}: {}", refused.stderr);
    }
    assert_eq!(terminate(&mut job_manager), 0);
}
