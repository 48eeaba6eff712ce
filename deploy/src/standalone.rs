//! Workers that somebody else starts: `start-cluster.sh`, systemd, a person. The JobManager waits for them.

use async_trait::async_trait;

use crate::deployment::{Container, Deployment, Error};

/// Starts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standalone;

#[async_trait]
impl Deployment for Standalone {
    fn name(&self) -> &'static str {
        "standalone"
    }

    async fn start_workers(&self, _leader: &str, _count: u32) -> Result<Vec<Container>, Error> {
        Ok(Vec::new())
    }

    async fn stop_worker(&self, container: &Container) -> Result<(), Error> {
        Err(Error::UnknownContainer(container.id.clone()))
    }

    async fn stop_all(&self) -> Result<(), Error> {
        Ok(())
    }
}
