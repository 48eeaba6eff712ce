//! Runs one attempt of one subtask from its descriptor to its end.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow::datatypes::SchemaRef;
use datafusion::{execution::TaskContext, physical_plan::ExecutionPlan};
use futures::FutureExt as _;
use thalweg_connectors::{
    BuiltinConnectors,
    sink::{self, StreamSink},
};
use thalweg_graph::{
    CheckpointId, EdgeId, FailureKind, RuntimeMode, TaskDescriptor, TaskMetrics, TaskReport, VertexOutput,
    checkpoint::{Barrier, SubtaskSnapshot},
    options,
    table::Committable,
    task::SPLITS_REPORTED_MAX,
};
use thalweg_plan::{rules::holds_build_sides, stream::late_columns};
use thalweg_rpc::{LIVE_CHUNKS_MAX, ToLeader};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    build_streaming::StreamingParts,
    ended::Ended,
    fragment::{self, RunPartition, Runnable},
    metrics, panic,
    result_output::{Credit, ResultOutput},
    stream::{self, Work},
    stream_output::{LastOutput, StreamOutput},
    streaming::StreamingTask,
};
use crate::{
    counters::TaskCounters,
    exchange::{Exchange, input_gate::InputGates, result_partition::ResultPartition},
    leader::Leader,
};

/// One attempt.
pub struct TaskAttempt {
    /// What was ordered.
    pub descriptor: Arc<TaskDescriptor>,
    /// Asks it to stop.
    pub cancel: CancellationToken,
    counters: Arc<TaskCounters>,
    plan: OnceLock<Arc<dyn ExecutionPlan>>,
    /// The way to its source, if it has one.
    orders: OnceLock<SourceOrders>,
    /// What it leaves when it is over.
    last: Arc<OnceLock<SubtaskSnapshot>>,
    /// Chunks of a live result that it may send.
    credit: Arc<Semaphore>,
    /// The newest checkpoint whose barrier its source was told to let pass; 0 for none.
    ordered: AtomicU64,
}

/// How many checkpoints a source may be behind.
const ORDERS: usize = 4;

/// What the leader orders of a source while it runs.
struct SourceOrders {
    barriers: mpsc::Sender<Barrier>,
    completed: mpsc::Sender<CheckpointId>,
    /// How far it may go in event time.
    allowed: watch::Sender<i64>,
}

/// What an attempt uses of its worker.
pub struct TaskEnvironment {
    /// To and from other tasks.
    pub exchange: Arc<Exchange>,
    /// To and from tables.
    pub connectors: Arc<BuiltinConnectors>,
    /// Functions, settings and memory, as the attempt's job has them.
    pub job: Arc<TaskContext>,
    /// The session that the attempt was ordered through.
    pub session: mpsc::Sender<ToLeader>,
    /// The leader, through whatever session there is.
    pub leader: Arc<Leader>,
}

/// What an attempt leaves for its end to be told: outputs that are complete or must be given up.
pub struct Outcome {
    /// How it ended.
    pub result: Result<Vec<Committable>, Ended>,
    /// Queues of an attempt that did not finish. Their consumers fail when they are dropped, so the attempt's own failure is to be
    /// told first. Files are gone by now: whoever is told of the end finds none.
    pub given_up: Vec<Arc<ResultPartition>>,
}

/// All that an attempt runs.
enum TaskWork {
    Batch(Arc<Runnable>),
    Streaming(Box<StreamingTask>),
}

impl TaskWork {
    fn schema(&self) -> SchemaRef {
        match self {
            TaskWork::Batch(fragment) => fragment.plan.schema(),
            TaskWork::Streaming(task) => Arc::clone(task.chain.schema()),
        }
    }

    /// The columns of what goes over an edge.
    fn schema_over(&self, edge: EdgeId) -> SchemaRef {
        if self.late() == Some(edge) { late_columns() } else { self.schema() }
    }

    /// The edge for rows that come too late.
    fn late(&self) -> Option<EdgeId> {
        match self {
            TaskWork::Batch(_) => None,
            TaskWork::Streaming(task) => task.late,
        }
    }

    /// What the sink of a stream is opened with.
    fn sink(&self) -> Option<StreamSink> {
        match self {
            TaskWork::Batch(_) => None,
            TaskWork::Streaming(task) => task.sink.clone(),
        }
    }

    fn context(&self) -> &Arc<TaskContext> {
        match self {
            TaskWork::Batch(fragment) => &fragment.context,
            TaskWork::Streaming(task) => &task.context,
        }
    }

    /// What DataFusion runs of it.
    fn plan(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        match self {
            TaskWork::Batch(fragment) => Some(&fragment.plan),
            // A source counts what its reader gives.
            TaskWork::Streaming(_) => None,
        }
    }

    /// What runs side by side, each with the number of its partition in the vertex.
    fn streams(self, subtask: u32) -> Vec<(u32, Work)> {
        match self {
            TaskWork::Batch(fragment) => {
                let partitions = fragment.partitions.iter();
                let work = |partition: &RunPartition| {
                    (partition.number, Work::Partition(Arc::clone(&fragment), partition.index))
                };
                partitions.map(work).collect()
            }
            TaskWork::Streaming(task) => vec![(subtask, Work::Chain(task))],
        }
    }
}

impl TaskAttempt {
    /// An attempt that has not begun.
    pub fn new(descriptor: Arc<TaskDescriptor>) -> Self {
        let cancel = CancellationToken::new();
        let (counters, plan, orders, last) = Default::default();
        let credit = Arc::new(Semaphore::new(LIVE_CHUNKS_MAX));
        Self { descriptor, cancel, counters, plan, orders, last, credit, ordered: AtomicU64::new(0) }
    }

    /// The reader of its live result has taken chunks.
    pub fn result_taken(&self, chunks: u32) {
        // No more than were sent: a leader that says otherwise is not believed.
        let room = LIVE_CHUNKS_MAX.saturating_sub(self.credit.available_permits());
        self.credit.add_permits(room.min(chunks as usize));
    }

    /// Lets a barrier pass from its source. One that is several behind misses it, and the leader gives the checkpoint up.
    pub fn checkpoint(&self, barrier: Barrier) {
        self.ordered.fetch_max(barrier.checkpoint.0, Ordering::Relaxed);
        if let Some(orders) = self.orders.get() {
            let _ = orders.barriers.try_send(barrier);
        }
    }

    /// The newest checkpoint whose barrier it was told to let pass, or has met.
    pub fn newest_barrier(&self) -> Option<CheckpointId> {
        let newest = self.ordered.load(Ordering::Relaxed).max(self.counters.barrier.get());
        (newest > 0).then_some(CheckpointId(newest))
    }

    /// Tells it that a checkpoint is complete. One that is several behind hears of a later one.
    pub fn checkpoint_completed(&self, checkpoint: CheckpointId) {
        if let Some(orders) = self.orders.get() {
            let _ = orders.completed.try_send(checkpoint);
        }
    }

    /// Tells its source how far it may go in event time.
    pub fn align(&self, allowed_ms: i64) {
        if let Some(orders) = self.orders.get() {
            orders.allowed.send_if_modified(|allowed| std::mem::replace(allowed, allowed_ms) != allowed_ms);
        }
    }

    /// What it has left for checkpoints that others still take part in.
    pub fn last_snapshot(&self) -> Option<SubtaskSnapshot> {
        self.last.get().cloned()
    }

    /// What it has done so far.
    pub fn metrics(&self) -> TaskMetrics {
        metrics::sample(&self.counters, self.plan.get())
    }

    /// What it says of itself.
    pub fn report(&self) -> TaskReport {
        let splits = self.counters.event_time.slowest_splits(SPLITS_REPORTED_MAX);
        TaskReport { attempt: self.descriptor.attempt, metrics: self.metrics(), splits }
    }

    /// Whether it holds a side of a join in memory that it could sort instead.
    pub fn holds_build_sides(&self) -> bool {
        !self.descriptor.spills_joins && self.plan.get().is_some_and(holds_build_sides)
    }

    /// Runs it to its end on the compute runtime. `running` is called once its operators stand.
    pub async fn run(&self, environment: TaskEnvironment, running: impl Future<Output = ()>) -> Outcome {
        let mut edges = Vec::new();
        let trying = AssertUnwindSafe(self.try_run(environment, &mut edges, running));
        let result = trying.catch_unwind().await.unwrap_or_else(|payload| {
            Err(Ended::failed(FailureKind::Panic, panic::message(payload.as_ref())))
        });
        edges.retain(|edge| edge.is_read_meanwhile());
        Outcome { result, given_up: edges }
    }

    async fn try_run(
        &self,
        environment: TaskEnvironment,
        edges: &mut Vec<Arc<ResultPartition>>,
        running: impl Future<Output = ()>,
    ) -> Result<Vec<Committable>, Ended> {
        if self.cancel.is_cancelled() {
            return Err(Ended::Canceled);
        }
        let work = tokio::select! {
            work = self.build(&environment) => work?,
            () = self.cancel.cancelled() => return Err(Ended::Canceled),
        };
        let schema = work.schema();
        for output in &self.descriptor.outputs {
            let columns = work.schema_over(output.id.edge);
            let edge = ResultPartition::create(output, &columns, &environment.exchange, &self.counters)?;
            edges.push(Arc::new(edge));
        }
        let result = match *self.descriptor.output {
            VertexOutput::Result => {
                let session = environment.session.clone();
                Some(Arc::new(ResultOutput::new(self.descriptor.attempt, session, &schema)?))
            }
            VertexOutput::LiveResult => Some(Arc::new(self.live_result(&environment, &schema).await?)),
            VertexOutput::Sink(_) | VertexOutput::Edges => None,
        };
        running.await;
        let committables = self.run_streams(work, &environment, edges, result.as_ref()).await?;
        if let Some(result) = result.and_then(Arc::into_inner) {
            tokio::select! {
                finished = result.finish() => finished?,
                () = self.cancel.cancelled() => return Err(Ended::Canceled),
            }
        }
        // What is left here when one cannot be completed is given up.
        while let Some(edge) = edges.pop() {
            let alone = Arc::into_inner(edge);
            alone
                .ok_or_else(|| Ended::failed(FailureKind::Internal, "an output is still being written"))?
                .finish()?;
        }
        Ok(committables)
    }

    async fn live_result(
        &self,
        environment: &TaskEnvironment,
        schema: &SchemaRef,
    ) -> Result<ResultOutput, Ended> {
        let (session, attempt) = (environment.session.clone(), self.descriptor.attempt);
        let (chunks, counters) = (Arc::clone(&self.credit), Arc::clone(&self.counters));
        tokio::select! {
            output = ResultOutput::live(attempt, session, schema, Credit { chunks, counters }) => output,
            () = self.cancel.cancelled() => Err(Ended::Canceled),
        }
    }

    async fn build(&self, environment: &TaskEnvironment) -> Result<TaskWork, Ended> {
        fragment::check_build(&self.descriptor)?;
        let gates = Arc::new(InputGates {
            gates: self.descriptor.inputs.clone(),
            exchange: Arc::clone(&environment.exchange),
            counters: Arc::clone(&self.counters),
        });
        let sources = Arc::clone(&environment.connectors);
        let exchange = Arc::clone(&gates);
        let context = fragment::with_extensions(&self.descriptor, &environment.job, exchange, sources);
        let work = match self.descriptor.fragment.mode {
            RuntimeMode::Batch => TaskWork::Batch(Arc::new(fragment::build(&self.descriptor, context)?)),
            RuntimeMode::Streaming => {
                let (barriers, barriers_taken) = mpsc::channel(ORDERS);
                let (completed, completed_taken) = mpsc::channel(ORDERS);
                let (allowed, allowed_taken) = watch::channel(i64::MAX);
                let parts = StreamingParts {
                    descriptor: &self.descriptor,
                    context,
                    gates,
                    connectors: &environment.connectors,
                    leader: Arc::clone(&environment.leader),
                    barriers: barriers_taken,
                    completed: completed_taken,
                    allowed: allowed_taken,
                    last: Arc::clone(&self.last),
                };
                let task = parts.build().await?;
                self.orders.get_or_init(|| SourceOrders { barriers, completed, allowed });
                TaskWork::Streaming(Box::new(task))
            }
        };
        if let Some(plan) = work.plan() {
            self.plan.get_or_init(|| Arc::clone(plan));
        }
        Ok(work)
    }

    /// Drives all partitions side by side. The first that fails stops the others.
    async fn run_streams(
        &self,
        work: TaskWork,
        environment: &TaskEnvironment,
        edges: &[Arc<ResultPartition>],
        result: Option<&Arc<ResultOutput>>,
    ) -> Result<Vec<Committable>, Ended> {
        let buffer_timeout: Duration = self
            .descriptor
            .options
            .get(&options::BUFFER_TIMEOUT)
            .map_err(|error| Ended::failed(FailureKind::PlanRejected, error.to_string()))?;
        let (schema, context, stream) = (work.schema(), Arc::clone(work.context()), work.sink());
        let late = work.late();
        let mut outputs = Vec::new();
        for (number, work) in work.streams(self.descriptor.attempt.subtask.index) {
            let last = tokio::select! {
                last = self.last_output(&schema, environment, result, number, stream.clone()) => last?,
                () = self.cancel.cancelled() => return Err(Ended::Canceled),
            };
            let counters = Arc::clone(&self.counters);
            outputs.push((work, StreamOutput::new(edges, late, last, &context, counters)?));
        }
        let cancel = self.cancel.child_token();
        let mut streams = JoinSet::new();
        for (work, output) in outputs {
            let counters = Arc::clone(&self.counters);
            streams.spawn(stream::drive(work, output, buffer_timeout, counters, cancel.clone()));
        }
        let mut committables = Vec::new();
        let mut first_end = None;
        while let Some(joined) = streams.join_next().await {
            let ended = match joined {
                Ok(Ok(committable)) => {
                    committables.extend(committable);
                    continue;
                }
                Ok(Err(ended)) => ended,
                Err(error) => Ended::failed(FailureKind::Internal, format!("a stream was lost: {error}")),
            };
            first_end.get_or_insert(ended);
            cancel.cancel();
        }
        match first_end {
            Some(ended) => Err(ended),
            None => Ok(committables),
        }
    }

    async fn last_output(
        &self,
        schema: &SchemaRef,
        environment: &TaskEnvironment,
        result: Option<&Arc<ResultOutput>>,
        partition: u32,
        stream: Option<StreamSink>,
    ) -> Result<LastOutput, Ended> {
        let TaskDescriptor { attempt, output, .. } = self.descriptor.as_ref();
        Ok(match (output.as_ref(), result) {
            (VertexOutput::Sink(sink), _) => {
                let (connectors, schema) = (&environment.connectors, Arc::clone(schema));
                let opening = sink::open_in_stream(connectors, sink, schema, *attempt, partition, stream);
                LastOutput::Sink(opening.await?)
            }
            (VertexOutput::Result | VertexOutput::LiveResult, Some(result)) => {
                LastOutput::Result(Arc::clone(result))
            }
            _ => LastOutput::None,
        })
    }
}
