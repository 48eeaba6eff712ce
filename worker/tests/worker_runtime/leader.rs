//! A leader that does what the test says: starts workers, gives orders, collects what they report.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arrow::{array::RecordBatch, ipc::reader::StreamReader};
use thalweg_connectors::builtin::{BuiltinConnectors, ConnectorsConfig};
use thalweg_graph::{
    Attempt, BUILD_ID, EdgeId, FailureKind, Fragment, JobEpoch, JobId, Options, SubtaskId, TaskDescriptor,
    TaskMetrics, Term, VertexId, VertexOutput, WorkerId,
    exchange::{
        ExchangeKind, InputGate, Partitioning, Producers, ResultPartitionDescriptor, ResultPartitionId,
        ResultPartitionLocation,
    },
};
use thalweg_rpc::{Registration, Session, TaskUpdate, ToLeader, ToWorker, Trust, secret::ClusterSecret};
use thalweg_worker::{LeaderLink, Worker, WorkerConfig};
use tokio::time::timeout;

pub const JOB: JobId = JobId(7);
pub const TERM: Term = Term(1);
/// Nothing in these tests takes nearly so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// One worker and the leader's end of its session.
pub struct TestWorker {
    pub worker: Worker,
    pub registration: Registration,
    session: Session<ToWorker, ToLeader>,
    results: HashMap<Attempt, Vec<u8>>,
    ended: HashMap<Attempt, TaskUpdate>,
    pub heartbeats: usize,
    pub tmp: tempfile::TempDir,
}

pub fn config(name: &str, tmp: &Path) -> WorkerConfig {
    WorkerConfig {
        id: Some(WorkerId(name.to_owned())),
        host: "127.0.0.1".to_owned(),
        bind: Some(IpAddr::from([127, 0, 0, 1])),
        data_port: 0,
        slots: 2,
        memory_bytes: 512 << 20,
        tmp_dirs: vec![tmp.to_owned()],
        trust: knowing("the secret of all workers"),
    }
}

/// What a worker with a secret proves itself by.
pub fn knowing(secret: &str) -> Trust {
    Trust { secret: Some(ClusterSecret::new(secret).unwrap()), ..Trust::default() }
}

pub fn connectors() -> Arc<BuiltinConnectors> {
    BuiltinConnectors::new(ConnectorsConfig::default()).unwrap()
}

pub fn welcome() -> ToWorker {
    ToWorker::Welcome {
        term: TERM,
        heartbeat_interval: Duration::from_millis(20),
        heartbeat_timeout: Duration::from_secs(10),
        job_managers: Vec::new(),
    }
}

impl TestWorker {
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, |_| {}).await
    }

    pub async fn start_with(name: &str, change: impl FnOnce(&mut WorkerConfig)) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let mut config = config(name, tmp.path());
        change(&mut config);
        let (theirs, session) = Session::pair();
        let worker = Worker::start(config, connectors(), LeaderLink::InProcess(theirs)).await.unwrap();
        let mut session: Session<ToWorker, ToLeader> = session;
        let registration = match session.receiver.recv().await {
            Some(ToLeader::Register(registration)) => registration,
            other => panic!("expected a registration, got {other:?}"),
        };
        session.sender.send(welcome()).await.unwrap();
        let (results, ended) = Default::default();
        Self { worker, registration, session, results, ended, heartbeats: 0, tmp }
    }

    pub async fn order(&self, order: ToWorker) {
        self.session.sender.send(order).await.unwrap();
    }

    pub async fn deploy(&self, tasks: impl IntoIterator<Item = TaskDescriptor>) {
        self.order(ToWorker::Deploy { term: TERM, tasks: tasks.into_iter().map(Arc::new).collect() }).await;
    }

    /// Takes in the next message.
    pub async fn step(&mut self) {
        match timeout(PATIENCE, self.session.receiver.recv()).await.expect("the worker went silent") {
            Some(ToLeader::Heartbeat { .. }) => self.heartbeats += 1,
            Some(ToLeader::ResultChunk { attempt, bytes }) => {
                assert!(bytes.len() <= 256 << 10);
                self.results.entry(attempt).or_default().extend_from_slice(&bytes);
            }
            Some(ToLeader::Task { attempt, update }) if update != TaskUpdate::Running => {
                let before = self.ended.insert(attempt, update);
                assert_eq!(before, None, "a task ends once");
            }
            Some(ToLeader::Task { .. }) => {}
            other => panic!("unexpected message {other:?}"),
        }
    }

    /// How a task ended.
    pub async fn end_of(&mut self, attempt: Attempt) -> TaskUpdate {
        let waiting = async {
            loop {
                if let Some(update) = self.ended.get(&attempt) {
                    return update.clone();
                }
                self.step().await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("the task did not end")
    }

    pub async fn finished(&mut self, attempt: Attempt) -> TaskMetrics {
        match self.end_of(attempt).await {
            TaskUpdate::Finished { metrics, .. } => metrics,
            other => panic!("expected the task to finish, got {other:?}"),
        }
    }

    pub async fn failure(&mut self, attempt: Attempt) -> (FailureKind, String) {
        match self.end_of(attempt).await {
            TaskUpdate::Failed { failure, .. } => {
                assert_eq!(failure.attempt, Some(attempt));
                assert_eq!(failure.worker.as_ref(), Some(&self.registration.worker));
                (failure.kind, failure.message)
            }
            other => panic!("expected the task to fail, got {other:?}"),
        }
    }

    /// The rows of a task that finished.
    pub async fn rows(&mut self, attempt: Attempt) -> Vec<RecordBatch> {
        self.finished(attempt).await;
        let bytes = self.results.remove(&attempt).expect("at least the schema");
        StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect()
    }

    /// Lets heartbeats pass until a condition holds.
    pub async fn until(&mut self, what: &str, mut holds: impl FnMut(&Worker) -> bool) {
        let waiting = async {
            while !holds(&self.worker) {
                self.step().await;
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never came true: {what}"));
    }

    /// Ends the job and sees that nothing of it is left.
    pub async fn forget(&mut self) {
        self.order(ToWorker::ForgetJob { term: TERM, job: JOB }).await;
        self.until("all memory is given back", |worker| worker.memory_used_bytes() == 0).await;
        self.until("no partition is held", |worker| worker.partitions_held() == 0).await;
        let tmp = self.tmp.path().to_owned();
        // A partition is let go of first, its file removed next.
        self.until("no file is left", |_| shuffle_files(&tmp).is_empty()).await;
    }

    pub fn location(&self, producer: Attempt, edge: EdgeId) -> ResultPartitionLocation {
        ResultPartitionLocation {
            id: ResultPartitionId { producer, edge },
            worker: self.registration.worker.clone(),
            data_address: self.registration.data_address.clone(),
        }
    }
}

/// The shuffle files of the one worker below a temporary folder.
pub fn shuffle_files(tmp: &Path) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(tmp).unwrap().next().unwrap().unwrap().path();
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "shuffle")).collect()
}

pub fn attempt(vertex: u32, index: u32) -> Attempt {
    Attempt { job: JOB, subtask: SubtaskId { vertex: VertexId(vertex), index }, number: 0 }
}

/// A task that sends its rows to the client.
pub fn task(attempt: Attempt, fragment: &Fragment, parallelism: u32) -> TaskDescriptor {
    TaskDescriptor {
        attempt,
        epoch: JobEpoch(0),
        slot: 0,
        name: "test".to_owned(),
        build_id: BUILD_ID.to_owned(),
        parallelism,
        fragment: Arc::new(fragment.clone()),
        splits: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        output: Arc::new(VertexOutput::Result),
        spills_joins: false,
        options: Arc::new(Options::default()),
        checkpoints: None,
    }
}

pub trait Wired {
    /// The same task, writing over an edge instead of to the client.
    fn writing(
        self,
        edge: EdgeId,
        kind: ExchangeKind,
        partitioning: &Partitioning,
        subpartitions: u32,
    ) -> Self;
    /// The same task, reading over an edge.
    fn reading(self, edge: EdgeId, kind: ExchangeKind, producers: &[ResultPartitionLocation]) -> Self;
}

impl Wired for TaskDescriptor {
    fn writing(
        mut self,
        edge: EdgeId,
        kind: ExchangeKind,
        partitioning: &Partitioning,
        subpartitions: u32,
    ) -> Self {
        let id = ResultPartitionId { producer: self.attempt, edge };
        let partitioning = partitioning.clone();
        self.outputs.push(ResultPartitionDescriptor { id, partitioning, kind, subpartitions });
        self.output = Arc::new(VertexOutput::Edges);
        self
    }

    fn reading(mut self, edge: EdgeId, kind: ExchangeKind, producers: &[ResultPartitionLocation]) -> Self {
        let producers: Producers = producers.iter().cloned().collect();
        self.inputs.push(InputGate { edge, kind, subpartition: self.attempt.subtask.index, producers });
        self
    }
}

impl TestWorker {
    /// Whether a task's end was reported so far.
    pub fn has_ended(&self, attempt: Attempt) -> bool {
        self.ended.contains_key(&attempt)
    }
}
