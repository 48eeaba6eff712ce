//! Where tests run SQL: embedded, or on a cluster of processes that all tests of this binary share.

use std::{fmt, sync::Arc};

use thalweg::Client;
use thalweg_graph::Options;
use thalweg_integration::{
    hadoop::Hdfs,
    processes::{Binary, Cluster, ClusterConfig},
};
use tokio::sync::OnceCell;

/// Workers of the shared cluster, and slots of each.
const WORKERS: usize = 2;
const SLOTS: u32 = 2;

/// How vertices exchange data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// Everything runs at once.
    Pipelined,
    /// Producers first.
    Blocking,
}

/// One way of running the same SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In this process, with this many threads.
    Embedded(u32),
    /// On the shared cluster, with this parallelism.
    Cluster(u32, Exchange),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Embedded(threads) => write!(f, "embedded, parallelism {threads}"),
            Place::Cluster(parallelism, exchange) => {
                write!(f, "cluster, parallelism {parallelism}, {exchange:?}")
            }
        }
    }
}

impl Place {
    /// The options that make it so.
    pub fn options(self) -> Options {
        let (parallelism, exchange) = match self {
            Place::Embedded(threads) => (threads, Exchange::Pipelined),
            Place::Cluster(parallelism, exchange) => (parallelism, exchange),
        };
        let mode = match exchange {
            Exchange::Pipelined => "ALL_EXCHANGES_PIPELINED",
            Exchange::Blocking => "ALL_EXCHANGES_BLOCKING",
        };
        let parallelism = parallelism.to_string();
        [("parallelism.default", parallelism.as_str()), ("execution.batch-shuffle-mode", mode)]
            .into_iter()
            .collect()
    }

    /// A client there.
    pub async fn client(self) -> Client {
        self.client_with(Options::default()).await
    }

    /// A client there with more options.
    pub async fn client_with(self, options: Options) -> Client {
        let options = self.options().overridden_by(&options);
        let client = match self {
            Place::Embedded(_) => Client::embedded(options).await,
            Place::Cluster(..) => Client::remote(&shared_cluster().await.address, options).await,
        };
        client.unwrap_or_else(|error| panic!("{self}: no client: {error:#}"))
    }
}

/// How the tests run `thalweg`: cargo keeps this binary as fresh as the tests.
pub fn binary() -> Binary {
    Binary { path: env!("CARGO_BIN_EXE_bench").into(), prefix: vec!["node".to_owned()] }
}

/// The configuration of a cluster that finds the shared HDFS.
pub fn cluster_config(workers: usize, slots: u32) -> ClusterConfig {
    let mut config = ClusterConfig::new(binary(), workers, slots);
    let conf_dir = Hdfs::shared().conf_dir().display().to_string();
    config.environment.push(("HADOOP_CONF_DIR".to_owned(), conf_dir));
    config
}

/// The cluster of all tests that do not harm theirs.
pub async fn shared_cluster() -> Arc<Cluster> {
    static SHARED: OnceCell<Arc<Cluster>> = OnceCell::const_new();
    let start = || async {
        let cluster = Cluster::start(cluster_config(WORKERS, SLOTS)).await;
        Arc::new(cluster.unwrap_or_else(|error| panic!("the cluster did not start: {error:#}")))
    };
    SHARED.get_or_init(start).await.clone()
}
