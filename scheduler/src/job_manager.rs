//! The JobManager: a dispatcher with its doors, as the command line starts it, embedded or as a process.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use thalweg_graph::{
    Options,
    options::{self, InvalidValue},
};
use thalweg_rpc::{Session, ToLeader, ToWorker};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

use axum::serve::ListenerExt as _;
use thalweg_deploy::{Container, Deployment};

use crate::{
    checkpoint_storage::CheckpointStorage,
    clock::Clock,
    committer::Committer,
    dispatcher::{
        DispatcherHandle,
        cluster::{Cluster, WorkerSettings},
        driver::Driver,
        input::Input,
    },
    planner::Planner,
    rest,
    result_store::ResultStore,
    worker_gateway::WorkerGateway,
};

/// Inputs that wait for the dispatcher before their senders wait.
const INBOX: usize = 4096;
/// Time in which a worker whose connection broke may come back before its tasks are started elsewhere. A connection that broke
/// by itself is back in a few milliseconds; that of a killed process never is.
const SESSION_GRACE: Duration = Duration::from_millis(50);

/// What a JobManager is started with.
#[derive(Debug, Clone, Default)]
pub struct JobManagerConfig {
    /// Its options; jobs override those that concern them.
    pub options: Options,
}

/// A JobManager that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option has a value that it cannot take.
    #[error(transparent)]
    InvalidOption(#[from] InvalidValue),
}

/// A running JobManager. It stops when it and all handles to its dispatcher are dropped, or when it is told to.
pub struct JobManager {
    dispatcher: DispatcherHandle,
    gateway: WorkerGateway,
    options: Arc<Options>,
    deployments: Mutex<Vec<Arc<dyn Deployment>>>,
}

impl JobManager {
    /// Starts a JobManager. Must be called inside a tokio runtime.
    pub async fn start(
        config: JobManagerConfig,
        planner: Arc<dyn Planner>,
        committer: Arc<dyn Committer>,
        storage: Arc<dyn CheckpointStorage>,
    ) -> Result<JobManager, Error> {
        let JobManagerConfig { options } = config;
        let workers = WorkerSettings {
            heartbeat_interval: options.get(&options::HEARTBEAT_INTERVAL)?,
            heartbeat_timeout: options.get(&options::HEARTBEAT_TIMEOUT)?,
            session_grace: SESSION_GRACE,
        };
        let ended_max = options.get(&options::JOB_STORE_MAX)? as usize;
        let clock = Clock::start();
        let results =
            Arc::new(ResultStore::new(clock, options.get(&options::RESULT_TTL)?, tmp_dir(&options)?));
        let (inputs, inbox) = mpsc::channel(INBOX);
        let cluster = Cluster::new(workers, ended_max);
        let to_itself = inputs.downgrade();
        let driver = Driver::new(
            cluster,
            clock,
            options.clone(),
            planner,
            committer,
            storage,
            results.clone(),
            to_itself,
        );
        tokio::spawn(driver.run(inbox));
        let gateway = WorkerGateway::new(inputs.clone(), results.clone());
        let dispatcher = DispatcherHandle { inputs, results };
        Ok(JobManager { dispatcher, gateway, options: Arc::new(options), deployments: Mutex::default() })
    }

    /// The way to its dispatcher.
    pub fn dispatcher(&self) -> DispatcherHandle {
        self.dispatcher.clone()
    }

    /// Takes a worker's session: of a worker inside this process, or one that came by the control port.
    pub fn attach_worker(&self, session: Session<ToWorker, ToLeader>) {
        self.gateway.attach(session);
    }

    /// Serves the control port (REST and worker sessions) until the listener fails.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        let routes = rest::routes(self.dispatcher(), self.gateway.clone(), self.options.clone());
        // Orders to workers are small and must not wait for an acknowledgement of those before.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot turn off the delay of small packets");
            }
        });
        axum::serve(listener, routes).await
    }

    /// Has workers started that register at `leader` (`host:port`); they end when the JobManager stops.
    pub async fn deploy(
        &self,
        deployment: Arc<dyn Deployment>,
        leader: &str,
        workers: u32,
    ) -> Result<Vec<Container>, thalweg_deploy::Error> {
        let started = deployment.start_workers(leader, workers).await?;
        self.deployments.lock().push(deployment);
        Ok(started)
    }

    /// Stops: workers' sessions are closed, those that were started from here are ended, waiting calls end with `Stopped`.
    pub async fn stop(&self) {
        let deployments = std::mem::take(&mut *self.deployments.lock());
        for deployment in deployments {
            if let Err(error) = deployment.stop_all().await {
                tracing::warn!(%error, deployment = deployment.name(), "a worker may be left behind");
            }
        }
        let (stopped, done) = oneshot::channel();
        if self.dispatcher.inputs.send(Input::Stop(stopped)).await.is_ok() {
            // A dispatcher that is gone already has stopped.
            let _ = done.await;
        }
    }
}

/// The first of the configured temporary folders; the system's where there is none.
fn tmp_dir(options: &Options) -> Result<PathBuf, InvalidValue> {
    Ok(options.tmp_dirs()?.into_iter().next().unwrap_or_else(std::env::temp_dir))
}

#[cfg(test)]
mod tests;
