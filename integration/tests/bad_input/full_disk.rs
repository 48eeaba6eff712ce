//! Disks that take no more.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;
use thalweg::Client;
use thalweg_graph::Options;
use thalweg_integration::processes::{Binary, Cluster, ClusterConfig};

use super::{create, files};
use crate::{
    expect::{becomes, failure, text},
    place::binary,
};

/// More rows than any disk of these tests takes.
const ROWS: &str =
    "CREATE TABLE numbers (n BIGINT, s STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '200000')";

/// A disk of one megabyte where the tests run as root, who may mount one. Elsewhere processes that may not write longer files
/// stand in for it: both fail a write in the middle.
struct SmallDisk {
    folder: TempDir,
    mounted: bool,
}

impl SmallDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // SAFETY: geteuid has no preconditions and cannot fail.
        let is_root = unsafe { libc::geteuid() } == 0;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path());
        let mounted = is_root && mount.status().is_ok_and(|status| status.success());
        Self { folder, mounted }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn binary(&self) -> Binary {
        let Binary { path, prefix } = binary();
        if self.mounted {
            return Binary { path, prefix };
        }
        let limit = "trap '' XFSZ; ulimit -f 256; exec \"$@\"".to_owned();
        let mut limited = vec!["-c".to_owned(), limit, "bash".to_owned(), path.display().to_string()];
        limited.extend(prefix);
        Binary { path: "bash".into(), prefix: limited }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: what a test that failed left running may still hold it.
            let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        }
    }
}

async fn client(cluster: &Cluster) -> Client {
    let options: Options =
        [("restart-strategy.type", "none"), ("parallelism.default", "1")].into_iter().collect();
    let mut client = Client::remote(&cluster.address, options).await.unwrap();
    client.sql(ROWS).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_the_insert_and_leaves_nothing() {
    let disk = SmallDisk::new();
    let cluster = Cluster::start(ClusterConfig::new(disk.binary(), 1, 1)).await.unwrap();
    let mut client = client(&cluster).await;
    for format in ["csv", "json", "parquet"] {
        client.sql(&create(format, "n BIGINT, s STRING", disk.path(), format)).await.unwrap();
        let error = failure(&mut client, &format!("INSERT INTO {format} SELECT * FROM numbers")).await;
        assert!(!disk.mounted || error.contains("full"), "{error}");
        assert!(error.contains(&*disk.path().join(format).to_string_lossy()), "{error}");
        assert_eq!(files(disk.path()), Vec::<PathBuf>::new());
    }
}

/// Some 50 MB: more than the pool of [`small_options`] holds, far more than a small disk.
const WIDE_ROWS: &str =
    "CREATE TABLE wide (n BIGINT, s STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '400000')";

/// That a job which writes to a full temporary disk fails once, says where and what to do, and leaves nothing.
async fn fails_for_want_of_tmp_space(client: &mut Client, disk: &SmallDisk, select: &str, what: &str) {
    let outputs = tempfile::tempdir().unwrap();
    client.sql(WIDE_ROWS).await.unwrap();
    client.sql(&create("target", "n BIGINT, s STRING", outputs.path(), "csv")).await.unwrap();
    let error = failure(client, &format!("INSERT INTO target {select}")).await;
    assert_names_the_folder(disk, &error, what);
    assert_eq!(files(outputs.path()), Vec::<PathBuf>::new(), "{what}");
    // Only the locks of living workers are left. Files of producers that had finished go when their worker hears of the job's end.
    let leftovers = || {
        let files = files(disk.path()).into_iter();
        files.filter(|file| file.file_name() != Some("lock".as_ref())).collect::<Vec<_>>()
    };
    becomes(what, leftovers, &Vec::new()).await;
    assert_eq!(text(&client.sql("SELECT 1").await.unwrap()), "1", "{what}");
}

fn assert_names_the_folder(disk: &SmallDisk, error: &str, what: &str) {
    // A limit on a file's length is no full disk.
    if disk.mounted {
        for words in ["no space is left in", &*disk.path().to_string_lossy(), what, "io.tmp.dirs"] {
            assert!(error.contains(words), "`{words}` is not in: {error}");
        }
    }
}

/// Options under which a sort of [`WIDE_ROWS`] does not fit into memory.
fn small_options(disk: &SmallDisk) -> Options {
    let tmp_dirs = disk.path().display().to_string();
    [
        ("io.tmp.dirs", tmp_dirs.as_str()),
        ("taskmanager.memory.process.size", "160m"),
        ("restart-strategy.type", "none"),
        ("parallelism.default", "1"),
    ]
    .into_iter()
    .collect()
}

const SORTED: &str = "SELECT n, s FROM wide ORDER BY s, n";

#[test]
fn a_full_disk_fails_what_spills_in_one_process() {
    let disk = SmallDisk::new();
    let outputs = tempfile::tempdir().unwrap();
    let target = create("target", "n BIGINT, s STRING", outputs.path(), "csv");
    let mut command = disk.binary().command();
    command.args(["sql", "-e", &format!("{WIDE_ROWS}; {target}; INSERT INTO target {SORTED}")]);
    for (name, value) in &small_options(&disk).0 {
        command.arg("-D").arg(format!("{name}={value}"));
    }
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_names_the_folder(&disk, &error, "spilled data");
    assert_eq!(files(outputs.path()), Vec::<PathBuf>::new());
    assert_eq!(files(disk.path()), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_what_spills_or_shuffles_on_a_cluster() {
    let disk = SmallDisk::new();
    let mut config = ClusterConfig::new(disk.binary(), 1, 2);
    config.options = small_options(&disk);
    let cluster = Cluster::start(config).await.unwrap();
    for (mode, select, what) in [
        ("ALL_EXCHANGES_PIPELINED", SORTED, "spilled data"),
        ("ALL_EXCHANGES_BLOCKING", "SELECT max(n), s FROM wide GROUP BY s", "shuffle files"),
    ] {
        let options: Options = [
            ("execution.batch-shuffle-mode", mode),
            ("restart-strategy.type", "none"),
            ("parallelism.default", "2"),
        ]
        .into_iter()
        .collect();
        let mut client = Client::remote(&cluster.address, options).await.unwrap();
        fails_for_want_of_tmp_space(&mut client, &disk, select, what).await;
    }
}
