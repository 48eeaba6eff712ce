//! Parts of a job that stand there more than once, and are computed once: a view that two branches read, a source of several sinks.
//!
//! Two parts are the same if their plans are, their scans read the same, and nothing in them would give something else the second time.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use datafusion::{
    common::tree_node::{TreeNode as _, TreeNodeRecursion},
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan, Volatility},
    physical_plan::ExecutionPlan,
};
use thalweg_graph::{EdgeId, SqlError, VertexId, VertexOutput, exchange::Partitioning};

use super::{
    Draft,
    stream::Stream,
    vertex::{StreamVertex, VertexHead},
};
use crate::{error, exec::codec, stream::WatermarkNode};

/// Which parts of some plans are the same. Plans are known by their place in memory: they must stay where they are.
#[derive(Default)]
pub(super) struct Shared {
    /// The plans of scans, by their nodes.
    scans: HashMap<usize, Arc<dyn ExecutionPlan>>,
    /// What each node is, as far as it may be shared.
    classes: HashMap<usize, usize>,
    /// What stands there more than once.
    repeated: HashSet<usize>,
    /// What was made of it.
    made: HashMap<usize, Stream>,
}

/// What makes a part: its nodes, and what its scans read, in order.
type Part = (LogicalPlan, Vec<Bytes>);

/// What is found on the way.
#[derive(Default)]
struct Search {
    known: HashMap<Part, usize>,
    met: HashSet<usize>,
}

impl Shared {
    /// Looks through the plans of a job.
    pub async fn among(plans: &[LogicalPlan], state: &SessionState) -> Result<Self, SqlError> {
        let mut shared = Shared::default();
        let mut leaves = Vec::new();
        for plan in plans {
            let found = plan.apply(|node| {
                if matches!(node, LogicalPlan::TableScan(_)) {
                    leaves.push(node);
                }
                Ok(TreeNodeRecursion::Continue)
            });
            found.map_err(error::from_datafusion)?;
        }
        for leaf in leaves {
            let plan = state.query_planner().create_physical_plan(leaf, state).await;
            shared.scans.insert(place(leaf), plan.map_err(error::from_datafusion)?);
        }
        let mut search = Search::default();
        for plan in plans {
            shared.visit(plan, false, &mut search).map_err(error::from_datafusion)?;
        }
        Ok(shared)
    }

    /// The plan of a scan.
    pub fn scan(&self, leaf: &LogicalPlan) -> Option<Arc<dyn ExecutionPlan>> {
        self.scans.get(&place(leaf)).cloned()
    }

    /// What a node is, if it stands there more than once.
    pub fn class(&self, node: &LogicalPlan) -> Option<usize> {
        self.classes.get(&place(node)).copied().filter(|class| self.repeated.contains(class))
    }

    /// What was made of it when it was met first.
    pub fn made(&self, class: usize) -> Option<&Stream> {
        self.made.get(&class)
    }

    /// Keeps what was made of it.
    pub fn keep(&mut self, class: usize, stream: Stream) {
        self.made.insert(class, stream);
    }

    /// Tells what each node is. What is below another node that was met before is not met again.
    fn visit(
        &mut self,
        node: &LogicalPlan,
        below_watermark: bool,
        search: &mut Search,
    ) -> datafusion::error::Result<()> {
        // Between a source and its watermarks nothing changes hands: they are of its splits.
        if !below_watermark && let Some(scans) = self.shareable(node)? {
            let next = search.known.len();
            let class = *search.known.entry((node.clone(), scans)).or_insert(next);
            self.classes.insert(place(node), class);
            if !search.met.insert(class) {
                self.repeated.insert(class);
                return Ok(());
            }
        }
        let below_watermark = below_watermark || is_watermark(node);
        node.inputs().into_iter().try_for_each(|input| self.visit(input, below_watermark, search))
    }

    /// What the scans of a part read; `None` where it must not be shared.
    fn shareable(&self, node: &LogicalPlan) -> datafusion::error::Result<Option<Vec<Bytes>>> {
        let (mut scans, mut steady) = (Vec::new(), true);
        node.apply(|node| {
            if let Some(plan) = self.scans.get(&place(node)) {
                scans.push(codec::encode(plan)?);
            }
            node.apply_expressions(|expr| {
                steady &= !expr.exists(|expr| Ok(is_volatile(expr)))?;
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok((steady && !scans.is_empty()).then_some(scans))
    }
}

fn place(node: &LogicalPlan) -> usize {
    std::ptr::from_ref(node) as usize
}

fn is_watermark(node: &LogicalPlan) -> bool {
    matches!(node, LogicalPlan::Extension(extension) if extension.node.as_any().is::<WatermarkNode>())
}

fn is_volatile(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Volatile,
        // Its plan is not looked through.
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => true,
        _ => false,
    }
}

impl Draft {
    /// The same rows in a vertex of one's own, subtask by subtask.
    pub(super) fn forward(&mut self, stream: &Stream) -> Result<Stream, SqlError> {
        let parallelism = self.vertices[stream.vertex].parallelism;
        let vertex = self.exchange(stream, Partitioning::Forward, parallelism)?;
        Ok(Stream { vertex, ..stream.clone() })
    }

    /// Takes those vertices out that only hand on what one other gives: who reads them reads that.
    pub(super) fn without_forwards(mut self) -> Self {
        let mut gone_vertices = vec![false; self.vertices.len()];
        let mut gone_edges = vec![false; self.edges.len()];
        let forwards = (0..self.vertices.len()).filter_map(|at| Some((at, self.only_forwards(at)?)));
        for (position, edge) in forwards.collect::<Vec<_>>() {
            let source = self.edges[edge].source;
            let own = VertexId(position as u32);
            self.edges.iter_mut().filter(|out| out.source == own).for_each(|out| out.source = source);
            gone_vertices[position] = true;
            gone_edges[edge] = true;
        }
        let (vertex_at, edge_at) = (renumbered(&gone_vertices), renumbered(&gone_edges));
        let edge_id = |id: &mut EdgeId| *id = EdgeId(edge_at[id.index()]);
        let vertex_id = |id: &mut VertexId| *id = VertexId(vertex_at[id.index()]);
        let (mut at_vertex, mut at_edge) = (gone_vertices.iter(), gone_edges.iter());
        self.vertices.retain(|_| !at_vertex.next().copied().unwrap_or(false));
        self.edges.retain(|_| !at_edge.next().copied().unwrap_or(false));
        for edge in &mut self.edges {
            edge_id(&mut edge.id);
            vertex_id(&mut edge.source);
            vertex_id(&mut edge.target);
        }
        for vertex in &mut self.vertices {
            vertex.late.iter_mut().for_each(edge_id);
            match &mut vertex.head {
                VertexHead::Source { .. } => {}
                VertexHead::Edges { edges, .. } => edges.iter_mut().for_each(edge_id),
                VertexHead::Pair { inputs, .. } => inputs.iter_mut().for_each(|(edge, _)| edge_id(edge)),
            }
        }
        self
    }

    /// The one edge of a vertex that does nothing but hand on.
    fn only_forwards(&self, position: usize) -> Option<usize> {
        let StreamVertex { head: VertexHead::Edges { edges, .. }, chain, output, .. } =
            &self.vertices[position]
        else {
            return None;
        };
        let [edge] = &edges[..] else { return None };
        let is_forward = self.edges[edge.index()].partitioning == Partitioning::Forward;
        (is_forward && chain.is_empty() && *output == VertexOutput::Edges).then_some(edge.index())
    }
}

/// The new number of each that stays.
fn renumbered(gone: &[bool]) -> Vec<u32> {
    let mut next = 0;
    let number = gone.iter().map(|gone| {
        let number = next;
        next += u32::from(!gone);
        number
    });
    number.collect()
}
