//! A worker as its process sees it: started with a configuration and a link to its leader, ended by a reason.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use datafusion::error::DataFusionError;
use thalweg_connectors::BuiltinConnectors;
use thalweg_graph::WorkerId;
use thalweg_plan::connect::Connectors as _;
use tokio::{net::TcpListener, runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, WorkerConfig},
    exchange::{
        self, Exchange, data_client::DataClient, data_server::DataServer, partition_store::PartitionStore,
    },
    leader_link::{self, LeaderLink, Stopped},
    memory,
    runtime::ComputeRuntime,
    task::panic,
    task_table::TaskTable,
    tmp_dir::{self, TmpDirs},
};

/// Tasks that are stopped have this long to withdraw what they staged.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A running worker. It stops when it is told to, when its leader refuses it, or when this value is dropped.
pub struct Worker {
    id: WorkerId,
    stop: CancellationToken,
    tasks: Arc<TaskTable>,
    data_address: Option<SocketAddr>,
    running: JoinHandle<Stopped>,
}

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No folder for temporary files.
    #[error(transparent)]
    TmpDir(#[from] tmp_dir::Error),
    /// The data port is taken, or the address is not this host's.
    #[error("cannot bind the data port {address}")]
    Bind {
        /// What was tried.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No threads.
    #[error("cannot start {slots} compute threads")]
    Threads {
        /// How many.
        slots: u32,
        /// Why.
        source: io::Error,
    },
    /// The environment of DataFusion's operators.
    #[error("cannot set up the memory pool and spill folders")]
    Environment(#[source] DataFusionError),
    /// The leader does not take this worker.
    #[error("the JobManager refused this worker: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// A bug of ours.
    #[error("the worker panicked: {0}")]
    Panicked(String),
}

impl Worker {
    /// Opens the data port, starts the compute threads and begins to register. Must be called inside a tokio runtime, which carries
    /// heartbeats and sockets from then on.
    pub async fn start(
        config: WorkerConfig,
        connectors: Arc<BuiltinConnectors>,
        link: LeaderLink,
    ) -> Result<Worker, Error> {
        panic::note_locations();
        let tmp_dirs = TmpDirs::create(&config.tmp_dirs)?;
        let compute = ComputeRuntime::start(config.slots)
            .map_err(|source| Error::Threads { slots: config.slots, source })?;
        let base = connectors.runtime_env();
        let pool = memory::shared_pool(&base, config.memory_bytes);
        let runtime_env =
            memory::runtime_env(&base, Arc::clone(&pool), tmp_dirs.paths()).map_err(Error::Environment)?;
        let reservation = exchange::reservation(&pool);
        let store = Arc::new(PartitionStore::default());
        let (server, data_address) = match config.bind {
            None => (None, None),
            Some(bind) => {
                let (listener, address) = listen(bind, config.data_port).await?;
                let server = DataServer::start(
                    listener,
                    Arc::clone(&store),
                    compute.handle().clone(),
                    config.trust.clone(),
                );
                (Some(server), Some(address))
            }
        };
        let port = data_address.map_or(0, |address| address.port());
        let id = config.id.unwrap_or_else(|| config::new_id(&config.host, port));
        let exchange = Arc::new(Exchange {
            worker: id.clone(),
            store,
            client: DataClient::new(Handle::current(), reservation.new_empty(), config.trust.clone()),
            shuffle_dirs: tmp_dirs.paths(),
            memory: reservation,
        });
        let tasks = Arc::new(TaskTable::new(
            exchange,
            connectors,
            runtime_env,
            compute.handle().clone(),
            config.slots,
        ));
        let announced = data_address.map_or(String::new(), |address| announce(&config.host, address));
        let registration =
            leader_link::introduction(id.clone(), config.host, announced, config.slots, config.memory_bytes);
        let stop = CancellationToken::new();
        let living = (server, compute, tmp_dirs);
        let running = tokio::spawn({
            let (tasks, stop) = (Arc::clone(&tasks), stop.clone());
            async move {
                let stopped =
                    leader_link::run(link, config.trust, registration, Arc::clone(&tasks), stop).await;
                tasks.stop(STOP_PATIENCE).await;
                // Files and threads go last.
                drop(living);
                stopped
            }
        });
        Ok(Worker { id, stop, tasks, data_address, running })
    }

    /// Asks the worker to stop: it cancels its tasks and says goodbye.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the worker has stopped; says why it did. A wait that was given up may be taken up again.
    pub async fn stopped(&mut self) -> Result<String, Error> {
        match (&mut self.running).await {
            Ok(Stopped::InOrder(reason)) => Ok(reason),
            Ok(Stopped::Refused(reason)) => Err(Error::Refused { reason }),
            Err(error) => Err(Error::Panicked(error.to_string())),
        }
    }

    /// Its name.
    pub fn id(&self) -> &WorkerId {
        &self.id
    }

    /// Where its data port listens; `None` for a worker without one.
    pub fn data_address(&self) -> Option<SocketAddr> {
        self.data_address
    }

    /// Bytes of its memory pool in use.
    pub fn memory_used_bytes(&self) -> u64 {
        self.tasks.memory_used_bytes()
    }

    /// Outputs of tasks that it holds for other tasks.
    pub fn partitions_held(&self) -> usize {
        self.tasks.exchange.store.held()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// How others reach the data port: by the host's name, except that a port bound to the loopback is only found there.
fn announce(host: &str, bound: SocketAddr) -> String {
    if bound.ip().is_loopback() { bound.to_string() } else { format!("{host}:{}", bound.port()) }
}

async fn listen(bind: IpAddr, port: u16) -> Result<(TcpListener, SocketAddr), Error> {
    let address = SocketAddr::new(bind, port);
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bound.await.map_err(|source| Error::Bind { address, source })
}
