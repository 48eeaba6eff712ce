//! The JobManager: a dispatcher with its doors, as the command line starts it, embedded or as a process.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use thalweg_graph::{
    Options,
    options::{self, InvalidValue},
};
use thalweg_rpc::{Session, ToLeader, ToWorker, Trust};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use thalweg_deploy::{Container, Deployment};

use crate::{
    access::{Access, Login},
    artifact_store::ArtifactStore,
    audit::{self, AuditLog},
    checkpoint_storage::CheckpointStorage,
    clock::Clock,
    committer::Committer,
    dispatcher::{
        DispatcherHandle,
        cluster::{Cluster, WorkerSettings},
        driver::Driver,
        input::Input,
    },
    ground::Ground,
    history::History,
    log_ring::LogRing,
    planner::Planner,
    quorum::{self, MemberConfig, MemberId, Proposals, Proposer, Quorum, QuorumMember},
    rest::{
        self, Api,
        disposal::Disposals,
        limits::Times,
        serve::{Connections, Listener},
    },
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
    /// Its place in a quorum; one without others keeps nothing beyond its end.
    pub quorum: Option<MemberConfig>,
    /// What it proves itself by to the cluster's other processes, and whom it believes.
    pub trust: Trust,
    /// Who must log in at its control port.
    pub login: Login,
    /// The newest lines of the process's log.
    pub log: LogRing,
    /// What it stands on.
    pub ground: Ground,
    /// Where jobs that have ended are kept, if they are.
    pub history: Option<History>,
}

/// A JobManager that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option has a value that it cannot take.
    #[error(transparent)]
    InvalidOption(#[from] InvalidValue),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// The quorum.
    #[error(transparent)]
    Quorum(#[from] quorum::member::Error),
}

/// A running JobManager. It stops when it and all handles to its dispatcher are dropped, or when it is told to.
pub struct JobManager {
    api: Api,
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
        let JobManagerConfig { options, quorum, trust, login, log, history, ground } = config;
        let workers = WorkerSettings {
            heartbeat_interval: options.get(&options::HEARTBEAT_INTERVAL)?,
            heartbeat_timeout: options.get(&options::HEARTBEAT_TIMEOUT)?,
            session_grace: SESSION_GRACE,
            queues: Arc::new(options.get(&options::JOB_QUEUES)?),
        };
        let ended_max = options.get(&options::JOB_STORE_MAX)?;
        let audit = AuditLog::open(&options)?.map(Arc::new);
        let artifacts = Arc::new(ArtifactStore::open(&options)?);
        let clock = Clock::start_at((ground.wall_clock)());
        let results =
            Arc::new(ResultStore::new(clock, options.get(&options::RESULT_TTL)?, tmp_dir(&options)?));
        let (inputs, inbox) = mpsc::channel(INBOX);
        let member = quorum.as_ref().map_or(MemberId::default(), |quorum| quorum.member);
        let cluster = Cluster::new(workers, member, ended_max);
        let (decides, proposals) = match &quorum {
            None => (Quorum::Alone, None),
            Some(_) => {
                let (proposer, proposals) = Proposer::pair();
                (Quorum::Member(proposer), Some(proposals))
            }
        };
        let (to_access, tokens) = watch::channel(Arc::default());
        let to_itself = inputs.downgrade();
        let driver = Driver::new(
            cluster,
            clock,
            options.clone(),
            planner.clone(),
            committer,
            storage.clone(),
            history.clone(),
            results.clone(),
            to_itself,
            decides,
            to_access,
            options.get(&options::OPEN_JOBS_MAX)? as usize,
        );
        tokio::spawn(driver.run(inbox));
        let quorum = match quorum.zip(proposals) {
            None => None,
            Some((config, proposals)) => {
                Some(join(config, trust.clone(), &ground, proposals, inputs.clone()).await?)
            }
        };
        let gateway = WorkerGateway::new(inputs.clone(), results.clone());
        let dispatcher = DispatcherHandle { inputs, results, history };
        let api = Api {
            dispatcher,
            quorum,
            trust,
            access: Arc::new(Access { login, tokens }),
            audit,
            gateway,
            options: Arc::new(options),
            planner,
            storage,
            disposals: Disposals::default(),
            artifacts,
            log,
            stop: CancellationToken::new(),
        };
        Ok(JobManager { api, deployments: Mutex::default() })
    }

    /// The way to its dispatcher.
    pub fn dispatcher(&self) -> DispatcherHandle {
        self.api.dispatcher.clone()
    }

    /// Where the newest lines of its log are put.
    pub fn log(&self) -> LogRing {
        self.api.log.clone()
    }

    /// Takes a worker's session: of a worker inside this process, or one that came by the control port.
    pub fn attach_worker(&self, session: Session<ToWorker, ToLeader>) {
        self.api.gateway.attach(session);
    }

    /// Serves the control port (REST and worker sessions) until a call of REST stops it.
    pub async fn serve(&self, listener: impl Listener) -> io::Result<()> {
        self.serve_within(listener, Connections::default(), Times::default()).await
    }

    /// The same, with these limits.
    pub(crate) async fn serve_within(
        &self,
        listener: impl Listener,
        connections: Connections,
        times: Times,
    ) -> io::Result<()> {
        let routes = rest::routes(self.api.clone(), times);
        let trust = self.api.trust.clone();
        let serving = rest::serve::serve(listener, routes, connections, trust, self.api.stop.clone());
        match &self.api.quorum {
            None => serving.await,
            Some(quorum) => tokio::select! {
                served = serving => served,
                why = quorum.failed() => Err(io::Error::other(format!("the quorum's member has failed: {why}"))),
            },
        }
    }

    /// Its place in the quorum, if it has one.
    pub fn quorum(&self) -> Option<&QuorumMember> {
        self.api.quorum.as_ref()
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
        self.api.stop.cancel();
        let deployments = std::mem::take(&mut *self.deployments.lock());
        for deployment in deployments {
            if let Err(error) = deployment.stop_all().await {
                tracing::warn!(%error, deployment = deployment.name(), "a worker may be left behind");
            }
        }
        if let Some(quorum) = &self.api.quorum {
            quorum.stop().await;
        }
        let (stopped, done) = oneshot::channel();
        if self.api.dispatcher.inputs.send(Input::Stop(stopped)).await.is_ok() {
            // A dispatcher that is gone already has stopped.
            let _ = done.await;
        }
        if let Some(history) = &self.api.dispatcher.history {
            history.stop().await;
        }
    }
}

/// Starts this JobManager's member of the quorum, and brings to the dispatcher what that says.
async fn join(
    config: MemberConfig,
    trust: Trust,
    ground: &Ground,
    proposals: Proposals,
    inputs: mpsc::Sender<Input>,
) -> Result<QuorumMember, quorum::member::Error> {
    let (to_state, mut of_quorum) = mpsc::channel(1);
    let to_dispatcher = inputs.clone();
    tokio::spawn(async move {
        while let Some(question) = of_quorum.recv().await {
            if to_dispatcher.send(Input::Quorum(question)).await.is_err() {
                return;
            }
        }
    });
    let member = QuorumMember::start(config, trust, ground, to_state, proposals).await?;
    let mut leadership = member.leadership();
    tokio::spawn(async move {
        loop {
            let seen = leadership.borrow_and_update().clone();
            if inputs.send(Input::Leadership(seen)).await.is_err() || leadership.changed().await.is_err() {
                return;
            }
        }
    });
    Ok(member)
}

/// The first of the configured temporary folders; the system's where there is none.
fn tmp_dir(options: &Options) -> Result<PathBuf, InvalidValue> {
    Ok(options.tmp_dirs()?.into_iter().next().unwrap_or_else(std::env::temp_dir))
}

#[cfg(test)]
mod tests;
