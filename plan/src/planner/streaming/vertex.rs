//! The vertices of a streaming job while their chains grow.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use datafusion::{
    arrow::datatypes::SchemaRef,
    common::{DFSchema, Result},
    physical_plan::{ExecutionPlan, displayable, empty::EmptyExec},
};
use thalweg_graph::{EdgeId, VertexOutput};

use crate::{
    exec::codec,
    stream::{Head, OperatorKind, OperatorSpec, PairInput, PairKind, StreamFragment},
};

/// A vertex to be.
pub(super) struct StreamVertex {
    /// Its subtasks.
    pub parallelism: u32,
    /// Where its rows come from.
    pub head: VertexHead,
    /// Its operators so far.
    pub chain: Vec<Link>,
    /// Whether it puts out rows with weights.
    pub updating: bool,
    /// The edge over which its late rows go.
    pub late: Option<EdgeId>,
    /// Where its rows leave the job.
    pub output: VertexOutput,
}

/// Where a vertex's rows come from.
pub(super) enum VertexHead {
    /// A scan of a table, or rows that stand in the query.
    Source { plan: Arc<dyn ExecutionPlan>, name: String, updating: bool },
    /// Edges, with the columns that come over them.
    Edges { edges: Vec<EdgeId>, schema: SchemaRef },
    /// Two kinds of rows: an edge for each, with the columns that come over it, and the operator that puts them together.
    Pair { inputs: [(EdgeId, SchemaRef); 2], name: String, display: String, kind: PairKind },
}

/// An operator to be.
pub(super) enum Link {
    /// Filters and projections, which grow while more follow.
    Calc(Arc<dyn ExecutionPlan>),
    /// Any other.
    Done { spec: OperatorSpec, display: String },
}

impl StreamVertex {
    /// Adds a filter or a projection: `make` puts it on what is there, or on an empty input of these columns.
    pub fn calc(
        &mut self,
        input: &DFSchema,
        make: impl FnOnce(Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>>,
    ) -> Result<()> {
        let below = match self.chain.pop() {
            Some(Link::Calc(below)) => below,
            other => {
                self.chain.extend(other);
                columns_plan(input.inner())
            }
        };
        self.chain.push(Link::Calc(make(below)?));
        Ok(())
    }

    /// Adds an operator.
    pub fn push(&mut self, name: &str, display: String, kind: OperatorKind) {
        // Named when the whole job is known.
        let spec = OperatorSpec { uid: String::new(), name: name.to_owned(), kind };
        self.chain.push(Link::Done { spec, display });
    }

    /// What a worker receives.
    pub fn fragment(&self, uids: &mut Uids) -> Result<StreamFragment> {
        let head = match &self.head {
            VertexHead::Source { plan, name, updating } => Head::Source {
                uid: uids.next(&format!("Source: {name}")),
                plan: codec::encode(plan)?,
                updating: *updating,
            },
            VertexHead::Edges { edges, schema } => {
                Head::Edges { edges: edges.clone(), columns: encode_columns(schema)? }
            }
            VertexHead::Pair { inputs: [left, right], name, kind, .. } => {
                let input = |(edge, schema): &(EdgeId, SchemaRef)| -> Result<PairInput> {
                    Ok(PairInput { edges: vec![*edge], columns: encode_columns(schema)? })
                };
                Head::Pair {
                    left: input(left)?,
                    right: input(right)?,
                    uid: uids.next(name),
                    name: name.clone(),
                    kind: kind.clone(),
                }
            }
        };
        let chain = self.chain.iter().map(|link| match link {
            // It has no state.
            Link::Calc(plan) => Ok(OperatorSpec {
                uid: String::new(),
                name: "Calc".to_owned(),
                kind: OperatorKind::Calc { plan: codec::encode(plan)? },
            }),
            Link::Done { spec, .. } => Ok(OperatorSpec { uid: uids.next(&spec.name), ..spec.clone() }),
        });
        let chain = chain.collect::<Result<_>>()?;
        let sink = match &self.output {
            VertexOutput::Sink(sink) => Some(uids.next(&format!("Sink: {}", sink.table.path))),
            VertexOutput::Edges | VertexOutput::Result | VertexOutput::LiveResult => None,
        };
        Ok(StreamFragment { head, chain, updating: self.updating, sink, late: self.late })
    }

    /// Whether any of its operators leaves out rows that come too late.
    pub fn leaves_out_late_rows(&self) -> bool {
        let pair = matches!(&self.head, VertexHead::Pair { kind, .. } if kind.leaves_out_late_rows());
        let of_chain =
            |link: &Link| matches!(link, Link::Done { spec, .. } if spec.kind.leaves_out_late_rows());
        pair || self.chain.iter().any(of_chain)
    }

    /// The chain of its operators, as Flink names a vertex.
    pub fn name(&self) -> String {
        let mut names = Vec::new();
        match &self.head {
            VertexHead::Source { name, .. } => names.push(format!("Source: {name}")),
            VertexHead::Pair { name, .. } => names.push(name.clone()),
            VertexHead::Edges { .. } => {}
        }
        names.extend(self.chain.iter().map(|link| match link {
            Link::Calc(_) => "Calc".to_owned(),
            Link::Done { spec, .. } => spec.name.clone(),
        }));
        match &self.output {
            VertexOutput::Edges => {}
            VertexOutput::Sink(sink) => names.push(format!("Sink: {}", sink.table.path.table)),
            VertexOutput::Result | VertexOutput::LiveResult => names.push("Sink: Collect".to_owned()),
        }
        if names.is_empty() { "Forward".to_owned() } else { names.join(" -> ") }
    }

    /// Its operators, the last first, an operator a line, indented like the plans of a batch.
    pub fn display(&self) -> String {
        let mut lines: Vec<String> = match &self.head {
            VertexHead::Source { plan, .. } => lines_of(plan, false),
            VertexHead::Edges { edges, .. } => {
                let edges: Vec<String> = edges.iter().map(ToString::to_string).collect();
                vec![format!("Exchange: edges=[{}]", edges.join(", "))]
            }
            VertexHead::Pair { inputs: [(left, _), (right, _)], display, .. } => {
                vec![display.clone(), format!("Exchange: left=[{left}], right=[{right}]")]
            }
        };
        for link in &self.chain {
            let mut above = match link {
                Link::Calc(plan) => lines_of(plan, true),
                Link::Done { display, .. } => vec![display.clone()],
            };
            above.append(&mut lines);
            lines = above;
        }
        lines.splice(0..0, self.late.map(|edge| format!("LateRows: edge={edge}")));
        lines.iter().enumerate().map(|(depth, line)| format!("{}{line}\n", "  ".repeat(depth))).collect()
    }
}

/// Names for the state of a job's operators: each by what it is and how many such stand before it. A query that is edited elsewhere keeps them.
#[derive(Default)]
pub(super) struct Uids(BTreeMap<String, u32>);

impl Uids {
    fn next(&mut self, name: &str) -> String {
        // The second of two phases keeps what one does that does all of the work: the parallelism decides which it is.
        let name = name.strip_prefix("Global").unwrap_or(name);
        let count = self.0.entry(name.to_owned()).or_default();
        *count += 1;
        format!("{name} {count}")
    }
}

/// The lines of a plan without their indentation; of a calc without the empty input.
fn lines_of(plan: &Arc<dyn ExecutionPlan>, is_calc: bool) -> Vec<String> {
    let text = displayable(plan.as_ref()).indent(false).to_string();
    let mut lines: Vec<String> = text.lines().map(|line| line.trim_start().to_owned()).collect();
    if is_calc {
        lines.pop();
    }
    lines
}

/// A plan that stands for rows of these columns.
pub(super) fn columns_plan(schema: &SchemaRef) -> Arc<dyn ExecutionPlan> {
    Arc::new(EmptyExec::new(Arc::clone(schema)))
}

/// The same as bytes.
pub(super) fn encode_columns(schema: &SchemaRef) -> Result<Bytes> {
    codec::encode(&columns_plan(schema))
}
