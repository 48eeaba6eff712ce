//! A stream without end on a cluster of processes, and what the REST API says of it, for benchmarks.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use thalweg::{Client, Execution};
use thalweg_graph::{JobId, Options};
use thalweg_plan::Session;

use crate::processes::{Cluster, ClusterConfig};

/// Rows a second of a `datagen` table that gives as many as are taken.
pub const UNLIMITED: u64 = 1_000_000_000;
/// Pause between two looks.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// A job that runs.
pub struct StreamJob {
    /// Its cluster.
    pub cluster: Cluster,
    client: Client,
    job: JobId,
    _checkpoints: tempfile::TempDir,
}

impl StreamJob {
    /// Starts a cluster, whose checkpoints go to a folder of this machine, and on it the last statement of a script.
    pub async fn start(mut config: ClusterConfig, parallelism: u32, script: &str) -> Result<Self> {
        let checkpoints = tempfile::Builder::new().prefix("thalweg-checkpoints-").tempdir()?;
        let dir = format!("file://{}", checkpoints.path().display());
        config.options.0.insert("execution.checkpointing.dir".to_owned(), dir);
        let cluster = Cluster::start(config).await?;
        let options: Options = [("parallelism.default", parallelism.to_string())].into_iter().collect();
        let mut client = Client::remote(&cluster.address, options).await?;
        let mut job = None;
        for statement in Session::parse(script)? {
            if let Execution::Job { job: started, .. } = client.execute(&statement).await? {
                job = Some(started);
            }
        }
        let Some(job) = job else { bail!("the script makes no job") };
        Ok(Self { cluster, client, job, _checkpoints: checkpoints })
    }

    /// What the REST API says of it below its path.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.cluster.get(&format!("/v1/jobs/{}{path}", self.job)).await
    }

    /// Rows that its sources have given and that its last vertex has put out so far; those of a restart count once more.
    pub async fn rows(&self) -> Result<(u64, u64)> {
        let details = self.get("").await?;
        let vertices = details["vertices"].as_array().context("a job has vertices")?;
        let rows = |vertex: Option<&Value>| vertex.and_then(|it| it["metrics"]["write-records"].as_u64());
        let (first, last) = (rows(vertices.first()), rows(vertices.last()));
        Ok((first.context("a job has a source")?, last.context("a job has a sink")?))
    }

    /// Such rows a second, over some time from now on.
    pub async fn rates(&self, time: Duration) -> Result<(f64, f64)> {
        let (before, begun) = (self.rows().await?, Instant::now());
        tokio::time::sleep(time).await;
        let (after, seconds) = (self.rows().await?, begun.elapsed().as_secs_f64());
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        Ok((rate(before.0, after.0), rate(before.1, after.1)))
    }

    /// The newest checkpoints that are complete, the newest first.
    pub async fn checkpoints(&self) -> Result<Vec<Value>> {
        let mut answer = self.get("/checkpoints").await?;
        let Value::Array(history) = answer["history"].take() else { return Ok(Vec::new()) };
        Ok(history.into_iter().filter(|one| one["status"] == "COMPLETED").collect())
    }

    /// Waits until something can be said.
    pub async fn until<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut look: impl AsyncFnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(found) = look(self).await.with_context(|| self.cluster.logs())? {
                return Ok(found);
            }
            ensure!(
                Instant::now() < deadline,
                "{what}: not within {} s\n{}",
                timeout.as_secs(),
                self.cluster.logs()
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Cancels it.
    pub async fn cancel(self) -> Result<()> {
        self.client.jobs().cancel(self.job).await
    }
}
