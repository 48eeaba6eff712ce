//! The whole engine in one process: the dispatcher and one worker, joined by a pair of channels. No ports.

use std::{path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result, bail};
use async_trait::async_trait;
use futures::StreamExt as _;
use thalweg_connectors::BuiltinConnectors;
use thalweg_graph::{
    JobId, Options, WorkerId,
    checkpoint::AfterBarrier,
    options::{self, MemorySize},
};
use thalweg_plan::{Outcome, Session, Statement, Target};
use thalweg_rpc::Session as RpcSession;
use thalweg_scheduler::{
    DispatcherHandle, JobManager, JobManagerConfig, JobSummary, SavepointOrder, SavepointStatus,
    savepoint_folder, view::VertexEventTime,
};
use thalweg_worker::{LeaderLink, Worker, WorkerConfig};
use tokio_stream::wrappers::WatchStream;

use crate::{
    backend::{Backend, JobLine, Jobs, ProgressStream},
    checkpoint_files::CheckpointFiles,
    connectors, job_id, memory,
    rows::Rows,
    script_planner::ScriptPlanner,
    table_committer::TableCommitter,
};

/// The host of the one worker; it has no port and no neighbours.
const HOST: &str = "localhost";

/// How often a savepoint that was asked for is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A JobManager and a worker in this process.
pub struct Embedded {
    job_manager: JobManager,
    worker: Worker,
    connectors: Arc<BuiltinConnectors>,
    threads: u32,
    /// The first of the temporary folders.
    tmp_dir: PathBuf,
}

impl Embedded {
    /// Starts both. Takes all cores and half of the memory where the options do not say otherwise.
    pub async fn start(options: &Options) -> Result<Embedded> {
        let threads = threads(options)?;
        let config = WorkerConfig {
            id: Some(WorkerId(format!("{HOST}:{}", std::process::id()))),
            host: HOST.to_owned(),
            bind: None,
            data_port: 0,
            // A session may ask for more threads later.
            slots: threads.max(cores()),
            memory_bytes: memory_bytes(options)?,
            ..WorkerConfig::from_options(&without_trust(options), HOST)?
        };
        let connectors = connectors::open_for(options, &config)?;
        let planner = Arc::new(ScriptPlanner::new(connectors.clone()));
        let committer = Arc::new(TableCommitter::new(connectors.clone()));
        let storage = Arc::new(CheckpointFiles::new(connectors.clone()));
        let manager_config = JobManagerConfig { options: options.clone(), ..JobManagerConfig::default() };
        let job_manager = JobManager::start(manager_config, planner, committer, storage)
            .await
            .context("cannot start the JobManager")?;
        let (to_worker, to_leader) = RpcSession::pair();
        job_manager.attach_worker(to_worker);
        let worker = Worker::start(config, connectors.clone(), LeaderLink::InProcess(to_leader)).await?;
        let tmp_dir = options.tmp_dirs()?.into_iter().next().unwrap_or_else(std::env::temp_dir);
        Ok(Embedded { job_manager, worker, connectors, threads, tmp_dir })
    }

    /// A SQL session whose jobs run here.
    pub fn session(&self, mut options: Options) -> Session {
        // Workers elsewhere would not find it; here there is none.
        let folder = options.0.entry(options::CHECKPOINT_DIR.name.to_owned()).or_default();
        if folder.is_empty() {
            *folder = format!("file://{}/thalweg-checkpoints", self.tmp_dir.display());
        }
        Session::new(self.connectors.clone(), options, Target::Embedded { threads: self.threads })
    }
}

/// What is left where nobody connects: the files of the cluster's secret and certificates need not be readable to whoever runs this.
fn without_trust(options: &Options) -> Options {
    let of_trust = |name: &str| name.starts_with("security.cluster.") || name.starts_with("security.ssl.");
    options
        .0
        .iter()
        .filter(|(name, _)| !of_trust(name))
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn threads(options: &Options) -> Result<u32> {
    let asked = options.get(&options::PARALLELISM_DEFAULT)?;
    Ok(if asked > 0 { asked } else { cores() })
}

fn cores() -> u32 {
    thread::available_parallelism().map_or(1, |cores| cores.get() as u32)
}

fn memory_bytes(options: &Options) -> Result<u64> {
    if let Some(MemorySize(bytes)) = options.get_optional(&options::PROCESS_MEMORY)? {
        return Ok(bytes);
    }
    match memory::available_bytes() {
        Some(bytes) => Ok(bytes / 2),
        None => Ok(options.get(&options::PROCESS_MEMORY)?.0),
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.worker.stop();
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn start(&mut self, session: &mut Session, statement: &Statement) -> Result<Option<JobId>> {
        match session.execute(statement, job_id::random()).await? {
            Outcome::Job(graph) => Ok(Some(self.job_manager.dispatcher().submit(*graph).await?)),
            _ => Ok(None),
        }
    }

    fn remember(&mut self, _statement: &Statement) {}

    fn jobs(&self) -> Arc<dyn Jobs> {
        Arc::new(Dispatched(self.job_manager.dispatcher()))
    }
}

/// The jobs of a dispatcher in this process.
struct Dispatched(DispatcherHandle);

#[async_trait]
impl Jobs for Dispatched {
    async fn list(&self) -> Result<Vec<JobLine>> {
        let jobs = self.0.jobs().await?.into_iter();
        let line = |job: JobSummary| JobLine {
            job: job.job,
            name: job.name,
            status: job.status,
            start_ms: job.submitted.0 as i64,
        };
        Ok(jobs.map(line).collect())
    }

    async fn watch(&self, job: JobId) -> Result<ProgressStream> {
        Ok(WatchStream::new(self.0.watch(job).await?).map(Ok).boxed())
    }

    async fn result(&self, job: JobId) -> Result<Rows> {
        Rows::open(self.0.result(job).await?).await
    }

    async fn live_result(&self, job: JobId) -> Result<Rows> {
        self.result(job).await
    }

    async fn event_time(&self, job: JobId) -> Result<Vec<VertexEventTime>> {
        Ok(self.0.event_time(job).await?)
    }

    async fn cancel(&self, job: JobId) -> Result<()> {
        Ok(self.0.cancel(job).await?)
    }

    async fn stop_with_savepoint(&self, job: JobId, drain: bool) -> Result<String> {
        let details = self.0.job(job).await?;
        let folder = savepoint_folder(job, &details.options, None, job_id::random());
        let folder = folder
            .with_context(|| format!("a savepoint needs a folder: set `{}`", options::SAVEPOINT_DIR.name))?;
        let trigger = job_id::random().to_string();
        let then = if drain { AfterBarrier::Drain } else { AfterBarrier::Stop };
        let order = SavepointOrder { trigger: trigger.clone(), folder: Some(folder), then };
        self.0.savepoint(job, order).await?;
        loop {
            match self.0.savepoint_status(job, &trigger).await? {
                SavepointStatus::InProgress => tokio::time::sleep(POLL_INTERVAL).await,
                SavepointStatus::Completed(folder) => return Ok(folder),
                SavepointStatus::Failed(why) => bail!("{why}"),
            }
        }
    }
}
