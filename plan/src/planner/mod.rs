//! From logical plans to a job graph: optimise, choose operators, cut into vertices, deal splits.

mod cut;
mod deal;
mod determinism;
mod growth;
mod joins;
mod name;
mod read_fields;
mod recovery;
mod stream_report;
mod streaming;

use std::sync::Arc;

use datafusion::{
    common::tree_node::TreeNode,
    error::DataFusionError,
    execution::SessionState,
    logical_expr::LogicalPlan,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties, coalesce_partitions::CoalescePartitionsExec, displayable,
        sorts::sort_preserving_merge::SortPreservingMergeExec,
    },
};
use thalweg_graph::{
    BUILD_ID, EdgeId, Fragment, JobEdge, JobGraph, JobId, JobVertex, Options, RuntimeMode, SqlError,
    VertexId, VertexOutput,
    exchange::ExchangeKind,
    options::{self, InvalidValue, MemorySize},
    sql_error::SqlErrorCode,
    table::{Column, SinkDescriptor},
};

use self::{
    cut::{Cut, CutVertex},
    deal::Dealer,
};
pub use self::{
    recovery::{Fate, fates},
    stream_report::{changelog_modes, growing},
};
use crate::{connect::Connectors, error, exec::codec, target::Target, versions, window};

/// A statement, or a set of them, to be made into one job.
pub struct PlanRequest<'a> {
    /// The job's id.
    pub job: JobId,
    /// The job's name, for people.
    pub name: String,
    /// The text it is planned from.
    pub statement: String,
    /// What is computed, and where it goes. Several in a statement set.
    pub roots: Vec<Root>,
    /// Where a stream's late rows go, where anybody wants them.
    pub late: Option<Root>,
    /// How it is to run.
    pub mode: RuntimeMode,
    /// The options in force.
    pub options: &'a Options,
    /// What it is planned for.
    pub target: Target,
    /// Where block locations are asked.
    pub connectors: &'a dyn Connectors,
    /// The session made by [`planning_state`](crate::session_config::planning_state) for the same target.
    pub state: &'a SessionState,
}

/// One result of a job.
pub struct Root {
    /// What is computed; not yet optimised.
    pub plan: LogicalPlan,
    /// Where it goes.
    pub output: RootOutput,
}

/// Where the rows of a root go.
pub enum RootOutput {
    /// Into a table.
    Sink(Box<SinkDescriptor>),
    /// To the client.
    Result {
        /// What it is told about the columns.
        columns: Vec<Column>,
        /// Whether it sees the rows as they come, with all changes, instead of what there is in the end.
        live: bool,
    },
}

/// Plans a job.
pub async fn plan_job(request: PlanRequest<'_>) -> Result<JobGraph, SqlError> {
    for root in &request.roots {
        refuse_recursion(&root.plan)?;
        growth::check(&root.plan)?;
        joins::check(&root.plan)?;
    }
    let (vertices, edges) = match request.mode {
        RuntimeMode::Batch => batch(&request).await?,
        RuntimeMode::Streaming => {
            let dealer = dealer(&request)?;
            let parallelism = request.target.partitions() as u32;
            let interval = request.options.get(&options::CHECKPOINT_INTERVAL).map_err(invalid_option)?;
            let shape = streaming::Shape {
                parallelism,
                key_groups: key_groups(request.options, parallelism)?,
                mini_batch: streaming::Gathering::of(request.options).map_err(invalid_option)?,
                takes_checkpoints: !interval.is_zero(),
            };
            let (roots, late) = (&request.roots, request.late.as_ref());
            streaming::plan(roots, late, request.state, &dealer, shape).await?
        }
    };
    let result_columns = request.roots.iter().find_map(|root| match &root.output {
        RootOutput::Result { columns, .. } => Some(columns.clone()),
        RootOutput::Sink(_) => None,
    });
    let graph = JobGraph {
        job: request.job,
        name: request.name.clone(),
        build_id: BUILD_ID.to_owned(),
        mode: request.mode,
        vertices,
        edges,
        options: request.options.clone(),
        statement: request.statement.clone(),
        result_columns,
    };
    graph.validate().map_err(|error| SqlError::new(SqlErrorCode::Internal, error.to_string()))?;
    let checkpoint = request.options.get(&options::RECOVERY_PATH).unwrap_or_default();
    if request.mode == RuntimeMode::Streaming && !checkpoint.is_empty() {
        let manifest = request.connectors.checkpoint(&checkpoint).await?;
        recovery::check(&graph, &manifest, request.options)?;
    }
    Ok(graph)
}

/// How many key groups the keys of a stream are divided into: at least one for each subtask.
fn key_groups(given: &Options, parallelism: u32) -> Result<u16, SqlError> {
    let asked = given.get(&options::MAX_PARALLELISM).map_err(invalid_option)?;
    match u16::try_from(asked) {
        Ok(groups @ 1..=32_768) if u32::from(groups) >= parallelism => Ok(groups),
        _ => Err(invalid_option(InvalidValue {
            key: options::MAX_PARALLELISM.name.to_owned(),
            value: asked.to_string(),
            expected: format!("a number from the parallelism, {parallelism}, to 32768"),
        })),
    }
}

/// The graph of a batch job: physical plans cut into vertices.
async fn batch(request: &PlanRequest<'_>) -> Result<(Vec<JobVertex>, Vec<JobEdge>), SqlError> {
    let mut cut = Cut::default();
    for root in &request.roots {
        let plan = window::lower(root.plan.clone(), request.state)
            .and_then(|plan| versions::lower(plan, request.state))
            .map_err(error::from_datafusion)?;
        let plan = physical(&plan, request.state).await.map_err(error::from_datafusion)?;
        let (plan, output) = match &root.output {
            RootOutput::Sink(sink) => (plan, VertexOutput::Sink(sink.clone())),
            RootOutput::Result { .. } => (gathered(plan), VertexOutput::Result),
        };
        match request.target {
            Target::Embedded { .. } => cut.add_whole(plan, output),
            Target::Cluster { .. } => cut.add_root(&plan, output).map_err(error::from_datafusion)?,
        }
    }
    let edges = edges(request, &cut)?;
    Ok((vertices(request, cut.vertices).await?, edges))
}

async fn physical(
    plan: &LogicalPlan,
    state: &SessionState,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let plan = read_fields::tell_scans(state.optimize(plan)?)?;
    state.query_planner().create_physical_plan(&plan, state).await
}

/// A recursive query's branches share a table in memory, which no fragment can carry.
fn refuse_recursion(plan: &LogicalPlan) -> Result<(), SqlError> {
    let recursive = plan
        .exists(|node| Ok(matches!(node, LogicalPlan::RecursiveQuery(_))))
        .map_err(error::from_datafusion)?;
    if recursive {
        return Err(SqlError::new(SqlErrorCode::Unsupported, "`WITH RECURSIVE` is not supported yet"));
    }
    Ok(())
}

/// The plan with one partition, in its order if it has one.
fn gathered(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    if plan.output_partitioning().partition_count() == 1 {
        return plan;
    }
    match plan.output_ordering().cloned() {
        Some(ordering) => Arc::new(SortPreservingMergeExec::new(ordering, plan)),
        None => Arc::new(CoalescePartitionsExec::new(plan)),
    }
}

async fn vertices(request: &PlanRequest<'_>, cut: Vec<CutVertex>) -> Result<Vec<JobVertex>, SqlError> {
    let dealer = dealer(request)?;
    let distributed = dealer.distributed;
    let mut vertices = Vec::with_capacity(cut.len());
    for (position, vertex) in cut.into_iter().enumerate() {
        let partitions = vertex.plan.output_partitioning().partition_count() as u32;
        vertices.push(JobVertex {
            id: VertexId(position as u32),
            name: name::vertex_name(&vertex.plan, &vertex.output),
            parallelism: if distributed { partitions } else { 1 },
            fragment: Fragment {
                mode: RuntimeMode::Batch,
                plan: codec::encode(&vertex.plan).map_err(error::from_datafusion)?,
                display: displayable(vertex.plan.as_ref()).indent(false).to_string(),
                partitions,
            },
            sources: dealer.deal(&vertex.plan).await.map_err(error::from_datafusion)?,
            deterministic: determinism::is_deterministic(&vertex.plan).map_err(error::from_datafusion)?,
            output: vertex.output,
            estimated_bytes: vertex.bytes,
        });
    }
    Ok(vertices)
}

/// How this job's splits are dealt.
fn dealer<'a>(request: &PlanRequest<'a>) -> Result<Dealer<'a>, SqlError> {
    let distributed = matches!(request.target, Target::Cluster { .. });
    let MemorySize(split_max_bytes) =
        request.options.get(&options::SPLIT_MAX_SIZE).map_err(invalid_option)?;
    Ok(Dealer { connectors: request.connectors, split_max_bytes, distributed })
}

fn edges(request: &PlanRequest<'_>, cut: &Cut) -> Result<Vec<JobEdge>, SqlError> {
    let choice = ExchangeChoice::new(request, cut)?;
    let edges = cut.edges.iter().enumerate().map(|(position, edge)| JobEdge {
        id: EdgeId(position as u32),
        source: edge.source,
        target: edge.target,
        partitioning: edge.partitioning.clone(),
        // One consumer may end before the other begins to read, which must not hold up their producer.
        kind: if cut.is_shared(edge.source) {
            ExchangeKind::Blocking
        } else {
            choice.kind(cut.vertices[edge.source.index()].bytes)
        },
    });
    Ok(edges.collect())
}

/// How exchanges are timed, by `execution.batch-shuffle-mode`.
enum ExchangeChoice {
    All(ExchangeKind),
    BlockingAbove(u64),
}

impl ExchangeChoice {
    fn new(request: &PlanRequest<'_>, cut: &Cut) -> Result<Self, SqlError> {
        let mode = request.options.get(&options::BATCH_SHUFFLE_MODE).map_err(invalid_option)?;
        let MemorySize(threshold) =
            request.options.get(&options::PIPELINED_THRESHOLD).map_err(invalid_option)?;
        Ok(match mode.as_str() {
            "ALL_EXCHANGES_PIPELINED" => Self::All(ExchangeKind::Pipelined),
            "ALL_EXCHANGES_BLOCKING" => Self::All(ExchangeKind::Blocking),
            "AUTOMATIC" if too_wide(request.target, cut) => Self::All(ExchangeKind::Blocking),
            "AUTOMATIC" => Self::BlockingAbove(threshold),
            other => {
                return Err(invalid_option(InvalidValue {
                    key: options::BATCH_SHUFFLE_MODE.name.to_owned(),
                    value: other.to_owned(),
                    expected: "`AUTOMATIC`, `ALL_EXCHANGES_PIPELINED` or `ALL_EXCHANGES_BLOCKING`".to_owned(),
                }));
            }
        })
    }

    fn kind(&self, bytes: Option<u64>) -> ExchangeKind {
        match self {
            Self::All(kind) => *kind,
            Self::BlockingAbove(threshold) if bytes.is_some_and(|bytes| bytes > *threshold) => {
                ExchangeKind::Blocking
            }
            Self::BlockingAbove(_) => ExchangeKind::Pipelined,
        }
    }
}

/// Whether the subtasks of one vertex cannot all have a slot at once, as pipelined exchanges need.
fn too_wide(target: Target, cut: &Cut) -> bool {
    let Target::Cluster { max_slots, .. } = target else { return false };
    let counts = cut.vertices.iter().map(|vertex| vertex.plan.output_partitioning().partition_count());
    counts.max().unwrap_or(0) > max_slots.max(1) as usize
}

fn invalid_option(error: InvalidValue) -> SqlError {
    SqlError::new(SqlErrorCode::InvalidOption, error.to_string())
}
