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
use crate::{expect::failure, place::binary};

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
