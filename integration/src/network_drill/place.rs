//! Where it happens: three JobManagers, three workers and a storage, each a node of a network of its own.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use thalweg_graph::Options;

use crate::{
    folder_drill,
    hadoop::Hdfs,
    namespaces::Namespaces,
    processes::{Cluster, ClusterConfig, job_manager_node},
};

/// JobManagers of the quorum.
pub const MEMBERS: usize = 3;
/// Workers of the cluster. Two of them have the slots that a stream and a batch need together.
pub const WORKERS: usize = 3;
/// Slots of each worker.
pub const SLOTS: u32 = 3;
/// The node of the NameNode and the DataNode.
pub const STORAGE: &str = "storage";
/// The folder in it.
const FOLDER: &str = "/drill";

/// Frequent checkpoints, short silences, and restarts without end: what is looked for is whether the cluster heals.
const OPTIONS: [(&str, &str); 7] = [
    ("execution.checkpointing.interval", "300 ms"),
    ("execution.checkpointing.tolerable-failed-checkpoints", "1000"),
    ("restart-strategy.exponential-delay.initial-backoff", "50 ms"),
    ("restart-strategy.exponential-delay.max-backoff", "1 s"),
    ("restart-strategy.exponential-delay.attempts-before-reset-backoff", "1000"),
    ("heartbeat.interval", "500 ms"),
    ("heartbeat.timeout", "4 s"),
];

/// The node of a worker, by its position.
pub fn worker_node(index: usize) -> String {
    format!("worker{}", index + 1)
}

/// The cluster, its storage and its network; without a network the storage is this machine's disk.
pub struct Place {
    /// The cluster.
    pub cluster: Cluster,
    /// Where tables and checkpoints are.
    pub files: folder_drill::Place,
    /// The network, where one could be made.
    pub network: Option<Arc<Namespaces>>,
    // Ended in this order: the network last.
    _hdfs: Option<Hdfs>,
    _folder: TempDir,
}

impl Place {
    /// Starts everything.
    pub async fn start(mut config: ClusterConfig, network: Option<Arc<Namespaces>>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("thalweg-network-drill-").tempdir()?;
        let hdfs = network.as_ref().map(|network| Hdfs::start_in(network, STORAGE)).transpose()?;
        let files = match &hdfs {
            Some(hdfs) => {
                let conf_dir = hdfs.conf_dir().display().to_string();
                config.environment.push(("HADOOP_CONF_DIR".to_owned(), conf_dir));
                folder_drill::Place::Hdfs(hdfs.client(), FOLDER.to_owned(), hdfs.url_of(FOLDER))
            }
            None => folder_drill::Place::Local(folder.path().to_owned()),
        };
        for (name, value) in OPTIONS {
            config.options.0.insert(name.to_owned(), value.to_owned());
        }
        config.options.0.insert("execution.checkpointing.dir".to_owned(), files.url("checkpoints"));
        config.members = MEMBERS;
        if network.is_some() {
            config.hosts = (0..WORKERS).map(worker_node).collect();
            config.network.clone_from(&network);
        }
        let cluster = Cluster::start(config).await?;
        Ok(Self { cluster, files, network, _hdfs: hdfs, _folder: folder })
    }

    /// The network; there is one where a fault asks for it.
    pub fn network(&self) -> Result<&Namespaces> {
        self.network.as_deref().context("without network namespaces no link can be cut")
    }

    /// What a session on the cluster needs.
    pub fn options(&self, more: &[(&str, &str)]) -> Options {
        self.cluster.client_options().overridden_by(&more.iter().copied().collect())
    }
}

/// A network for such a place.
pub fn network() -> Result<Namespaces> {
    let members = (0..MEMBERS).map(job_manager_node);
    let nodes: Vec<String> =
        members.chain((0..WORKERS).map(worker_node)).chain([STORAGE.to_owned()]).collect();
    Namespaces::start(&nodes)
}
