//! What the JobManager asks of the place it runs in.

use std::{fmt, io};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// Gives workers. They make themselves known by registering with the JobManager, however they came.
#[async_trait]
pub trait Deployment: fmt::Debug + Send + Sync {
    /// Its name, for people: `process`.
    fn name(&self) -> &'static str;

    /// Starts workers that register at `leader` (`host:port`). Returns what was started. If one of them cannot be started those before it are ended again.
    async fn start_workers(&self, leader: &str, count: u32) -> Result<Vec<Container>, Error>;

    /// Ends a worker that was started here, and waits for its end. One that has ended already is no error.
    async fn stop_worker(&self, container: &Container) -> Result<(), Error>;

    /// Ends every worker that was started here.
    async fn stop_all(&self) -> Result<(), Error>;
}

/// A place in which a worker was started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Container {
    /// Its id in the system that gave it: for `process` the process id.
    pub id: String,
}

/// A worker that could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The worker's program could not be started.
    #[error("cannot start a worker from `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A worker could not be ended.
    #[error("cannot end the worker of container `{container}`")]
    Stop {
        /// Which.
        container: String,
        /// Why.
        source: io::Error,
    },
    /// The container was not started here.
    #[error("container `{0}` was not started by this deployment")]
    UnknownContainer(String),
}
