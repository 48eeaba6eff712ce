//! Local files and folders that the user may not read or write.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
};

use thalweg::Client;
use thalweg_graph::Options;
use thalweg_integration::processes::{Binary, Cluster, ClusterConfig};

use super::{create, files};
use crate::{
    expect::{failure, text},
    place::binary,
};

/// `nobody`, to whom a test that runs as root changes: root may do anything. Other users are refused as they are.
const NOBODY: u32 = 65_534;

/// The folders of builds may be closed to others.
fn open_executable(folder: &Path) -> PathBuf {
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    let executable = folder.join("thalweg");
    fs::copy(binary().path, &executable).unwrap();
    fs::set_permissions(&executable, Permissions::from_mode(0o755)).unwrap();
    executable
}

/// The error of a script that must fail, run by a user who owns nothing.
fn failure_without_rights(folder: &Path, script: &str) -> String {
    let executable = open_executable(folder);
    let mut command = std::process::Command::new(executable);
    command.args(binary().prefix).args(["sql", "-e", script]).current_dir("/");
    command.env_remove("USER").env_remove("LOGNAME");
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        command.uid(NOBODY).gid(NOBODY).env("HOME", "/");
    }
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.matches("[ERROR]").count(), 1, "{error}");
    assert!(!error.contains("panicked"), "{error}");
    error
}

#[test]
fn what_the_user_may_not_read_or_write_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["unreadable", "closed"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("a.csv"), "1\n").unwrap();
    }
    fs::set_permissions(folder.path().join("unreadable/a.csv"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.path().join("closed"), Permissions::from_mode(0o000)).unwrap();
    let target = folder.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o555)).unwrap();
    for (table, statement, action) in [
        ("unreadable", "SELECT * FROM unreadable", "read"),
        ("closed", "SELECT * FROM closed", "list"),
        ("target", "INSERT INTO target SELECT 1", "create folder"),
    ] {
        let script = format!("{}; {statement}", create(table, "a INT", folder.path(), "csv"));
        let error = failure_without_rights(folder.path(), &script);
        let path = folder.path().join(table);
        for words in ["the user of this process may not", action, &*path.to_string_lossy(), "permissions"] {
            assert!(error.contains(words), "`{words}` is not in: {error}");
        }
    }
    assert_eq!(files(&target), Vec::<PathBuf>::new());
    fs::set_permissions(folder.path().join("closed"), Permissions::from_mode(0o755)).unwrap();
}

/// How a user who owns nothing runs a worker.
fn nobodys_binary(folder: &Path) -> Binary {
    let mut words = ["-u", "USER", "-u", "LOGNAME", "-u", "HOME"].map(str::to_owned).to_vec();
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        let user = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"), "--clear-groups".to_owned()];
        words.extend(["setpriv".to_owned()].into_iter().chain(user));
    }
    words.push(open_executable(folder).display().to_string());
    words.extend(binary().prefix);
    Binary { path: "env".into(), prefix: words }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_may_not_read_or_write_is_named_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = ClusterConfig::new(binary(), 1, 1);
    config.worker_binary = Some(nobodys_binary(folder.path()));
    let cluster = Cluster::start(config).await.unwrap();
    let options: Options = [("restart-strategy.type", "none")].into_iter().collect();
    let mut client = Client::remote(&cluster.address, options).await.unwrap();
    for (name, mode) in [("unreadable", 0o755), ("target", 0o555)] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::set_permissions(folder.path().join(name), Permissions::from_mode(mode)).unwrap();
        client.sql(&create(name, "a INT", folder.path(), "csv")).await.unwrap();
    }
    let file = folder.path().join("unreadable/a.csv");
    fs::write(&file, "1\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
    for (table, statement, action) in [
        ("unreadable", "SELECT * FROM unreadable", "read"),
        ("target", "INSERT INTO target SELECT 1", "create folder"),
    ] {
        let error = failure(&mut client, statement).await;
        let path = folder.path().join(table);
        for words in ["the user of this process may not", action, &*path.to_string_lossy(), "permissions"] {
            assert!(error.contains(words), "`{words}` is not in: {error}");
        }
    }
    assert_eq!(files(&folder.path().join("target")), Vec::<PathBuf>::new());
    assert_eq!(text(&client.sql("SELECT 1").await.unwrap()), "1");
}
