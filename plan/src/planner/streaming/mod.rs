//! From a logical plan to the vertices of a streaming job.
//!
//! `optimize` (the rules that hold for endless input) `-> translate` (a node of the plan to operators of a vertex; a new vertex
//! where rows change hands) `-> vertex` (chains and what a worker receives of them).

mod aggregate;
mod group_aggregate;
mod grouping_sets;
mod interval;
mod join;
mod late_rows;
mod lookup_join;
mod normalize;
mod optimize;
mod over;
mod over_partitions;
mod result;
mod session;
mod shared;
mod stream;
mod temporal_join;
mod timed_join;
mod top_n;
mod translate;
mod unnest;
mod version_side;
mod vertex;
mod within;

use datafusion::execution::SessionState;
use thalweg_graph::{
    EdgeId, Fragment, JobEdge, JobVertex, RuntimeMode, SqlError, VertexId, VertexOutput,
    exchange::{ExchangeKind, Partitioning},
};

pub(super) use self::group_aggregate::Gathering;
use self::{
    shared::Shared,
    stream::Stream,
    translate::Translation,
    vertex::{StreamVertex, Uids, VertexHead},
};
use super::{Root, RootOutput, deal::Dealer};
use crate::error;

/// The vertices and edges of a job, while they come about.
#[derive(Default)]
struct Draft {
    vertices: Vec<StreamVertex>,
    edges: Vec<JobEdge>,
}

/// What a job looks like whatever its query is.
pub(super) struct Shape {
    /// Subtasks of a vertex.
    pub parallelism: u32,
    /// How many key groups the keys of the job are divided into.
    pub key_groups: u16,
    /// How rows are gathered before they are aggregated, if they are.
    pub mini_batch: Option<Gathering>,
    /// Whether the job may go on from a checkpoint of its own.
    pub takes_checkpoints: bool,
}

/// The vertices, producers before consumers, and edges of a job of these roots, and of one that its late rows go to, where anybody wants
/// them.
pub(super) async fn plan(
    roots: &[Root],
    late: Option<&Root>,
    state: &SessionState,
    dealer: &Dealer<'_>,
    Shape { parallelism, key_groups, mini_batch, takes_checkpoints }: Shape,
) -> Result<(Vec<JobVertex>, Vec<JobEdge>), SqlError> {
    let keeps_late = late.is_some();
    let mut draft = Draft::default();
    // Late rows come last: by then it is known who leaves out some.
    let roots: Vec<&Root> = roots.iter().chain(late).collect();
    let plans = roots.iter().map(|root| optimize::optimized(&root.plan, state, keeps_late));
    let plans = plans.collect::<Result<Vec<_>, _>>()?;
    let mut shared = Shared::among(&plans, state).await?;
    for (root, plan) in roots.into_iter().zip(&plans) {
        if late.is_some_and(|late| std::ptr::eq(late, root)) && !draft.leaves_out_late_rows() {
            continue;
        }
        let mut translation = Translation {
            state,
            parallelism,
            key_groups,
            mini_batch,
            keeps_late,
            takes_checkpoints,
            connectors: dealer.connectors,
            shared: &mut shared,
            draft: &mut draft,
        };
        match &root.output {
            RootOutput::Sink(sink) => {
                let stream = translation.root(plan).await?;
                if sink.overwrite {
                    return Err(translate::overwrite(sink));
                }
                draft.vertices[stream.vertex].updating = stream.updating;
                result::check_sink(&stream, sink, dealer.connectors)?;
                draft.vertices[stream.vertex].output = VertexOutput::Sink(sink.clone());
            }
            RootOutput::Result { live: true, .. } => {
                let stream = translation.live_result(plan).await?;
                draft.vertices[stream.vertex].updating = stream.updating;
                draft.vertices[stream.vertex].output = VertexOutput::LiveResult;
            }
            RootOutput::Result { live: false, .. } => {
                let stream = translation.result(plan).await?;
                draft.vertices[stream.vertex].output = VertexOutput::Result;
            }
        }
    }
    let draft = draft.without_forwards();
    let mut vertices = Vec::with_capacity(draft.vertices.len());
    let mut uids = Uids::default();
    for (position, vertex) in draft.vertices.iter().enumerate() {
        vertices.push(job_vertex(position, vertex, &mut uids, dealer).await?);
    }
    Ok((vertices, draft.edges))
}

async fn job_vertex(
    position: usize,
    vertex: &StreamVertex,
    uids: &mut Uids,
    dealer: &Dealer<'_>,
) -> Result<JobVertex, SqlError> {
    let sources = match &vertex.head {
        VertexHead::Source { plan, .. } => dealer.deal(plan).await.map_err(error::from_datafusion)?,
        VertexHead::Edges { .. } | VertexHead::Pair { .. } => Vec::new(),
    };
    Ok(JobVertex {
        id: VertexId(position as u32),
        name: vertex.name(),
        parallelism: vertex.parallelism,
        fragment: Fragment {
            mode: RuntimeMode::Streaming,
            plan: vertex.fragment(uids).map_err(error::from_datafusion)?.encode(),
            display: vertex.display(),
            partitions: vertex.parallelism,
        },
        sources,
        output: vertex.output.clone(),
        // All of a job's vertices restart together, so nobody reads an older output.
        deterministic: true,
        estimated_bytes: None,
    })
}

impl Draft {
    /// Adds a vertex that reads what `stream` puts out; says which.
    fn exchange(
        &mut self,
        stream: &Stream,
        partitioning: Partitioning,
        parallelism: u32,
    ) -> Result<usize, SqlError> {
        let target = self.vertices.len();
        let edge = self.edge(stream, target, partitioning);
        let columns = stream.columns().map_err(error::from_datafusion)?;
        let head = VertexHead::Edges { edges: vec![edge], schema: columns.inner().clone() };
        self.vertices.push(StreamVertex {
            parallelism,
            head,
            chain: Vec::new(),
            updating: false,
            late: None,
            output: VertexOutput::Edges,
        });
        Ok(target)
    }

    fn edge(&mut self, stream: &Stream, target: usize, partitioning: Partitioning) -> EdgeId {
        let source = stream.vertex;
        self.vertices[source].updating = stream.updating;
        let id = EdgeId(self.edges.len() as u32);
        self.edges.push(JobEdge {
            id,
            source: VertexId(source as u32),
            target: VertexId(target as u32),
            partitioning,
            kind: ExchangeKind::Pipelined,
        });
        id
    }

    /// The same rows in one subtask.
    fn gathered(&mut self, stream: Stream) -> Result<Stream, SqlError> {
        if self.vertices[stream.vertex].parallelism == 1 {
            return Ok(stream);
        }
        let vertex = self.exchange(&stream, Partitioning::Single, 1)?;
        Ok(Stream { vertex, ..stream })
    }
}
