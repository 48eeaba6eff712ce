//! The job graph: what REST stores, the quorum replicates, `EXPLAIN` prints and workers receive. One type, plain data.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    EdgeId, JobId, Options, VertexId,
    exchange::{ExchangeKind, Partitioning},
    source::SourceSplits,
    table::{Column, SinkDescriptor},
};

/// A planned job. Vertices stand in topological order, producers before consumers; ids are positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobGraph {
    /// The job's id.
    pub job: JobId,
    /// Its name, for people.
    pub name: String,
    /// The build that made the fragments (see [`crate::BUILD_ID`]).
    pub build_id: String,
    /// How it runs.
    pub mode: RuntimeMode,
    /// The vertices.
    pub vertices: Vec<JobVertex>,
    /// The edges.
    pub edges: Vec<JobEdge>,
    /// The options in force when it was planned.
    pub options: Options,
    /// The statement it was planned from, so that another build can plan it again.
    pub statement: String,
    /// The columns of its result where it returns rows to the client.
    pub result_columns: Option<Vec<Column>>,
}

/// Batch or streaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RuntimeMode {
    /// Every source ends; vertices run to completion.
    Batch,
    /// Sources may be endless.
    Streaming,
}

/// One vertex: a fragment of the plan, run by `parallelism` subtasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobVertex {
    /// Its position.
    pub id: VertexId,
    /// Its name, for people: the chain of its operators.
    pub name: String,
    /// How many subtasks run it.
    pub parallelism: u32,
    /// What they run.
    pub fragment: Fragment,
    /// The splits of its file scans.
    pub sources: Vec<SourceSplits>,
    /// Where its rows go besides its outgoing edges.
    pub output: VertexOutput,
    /// Whether a subtask that runs again gives the same rows again. Where it does not, whoever has read its older output runs again too.
    pub deterministic: bool,
    /// Estimated output, from statistics; `None` where nothing is known.
    pub estimated_bytes: Option<u64>,
}

/// A part of a physical plan. Subtask `i` of `p` executes the fragment's partitions `i, i + p, i + 2p, ...`: a distributed graph has
/// as many subtasks as partitions; an embedded one has one subtask, which runs all partitions side by side in its process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fragment {
    /// What kind of plan it is.
    pub mode: RuntimeMode,
    /// The plan: of a batch as `datafusion-proto` bytes, of a stream its head and operators; scans are without their files.
    pub plan: Bytes,
    /// The same for people, an operator a line, indented.
    pub display: String,
    /// The number of output partitions.
    pub partitions: u32,
}

/// Where the rows of a vertex leave the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VertexOutput {
    /// Nowhere: they only go over edges.
    Edges,
    /// Into a table.
    Sink(Box<SinkDescriptor>),
    /// To the client, as an Arrow IPC stream that is complete when the vertex has finished.
    Result,
    /// To the client as they come, as an Arrow IPC stream made no faster than it is read. Rows that change have weights.
    LiveResult,
}

impl VertexOutput {
    /// Whether the rows go to the client.
    pub fn is_result(&self) -> bool {
        matches!(self, VertexOutput::Result | VertexOutput::LiveResult)
    }
}

/// Rows of `source` go to `target`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEdge {
    /// Its position.
    pub id: EdgeId,
    /// The producer.
    pub source: VertexId,
    /// The consumer.
    pub target: VertexId,
    /// Who gets which row.
    pub partitioning: Partitioning,
    /// How both ends are timed.
    pub kind: ExchangeKind,
}

/// A graph that does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is nothing to run.
    #[error("the job graph has no vertices")]
    Empty,
    /// A vertex without subtasks or with more subtasks than partitions.
    #[error("vertex {vertex} has {parallelism} subtasks for {partitions} partitions")]
    Parallelism {
        /// The vertex's position.
        vertex: u32,
        /// Its subtasks.
        parallelism: u32,
        /// Its fragment's partitions.
        partitions: u32,
    },
    /// An id that is not its position, or an edge that leads nowhere or backwards.
    #[error("{0} is out of place in the job graph")]
    OutOfPlace(String),
    /// `Single` into several subtasks.
    #[error("edge {0} gathers into more than one subtask")]
    GatherIntoMany(u32),
}

impl JobGraph {
    /// Checks that ids are positions, edges lead forward, and parallelisms fit.
    pub fn validate(&self) -> Result<(), Error> {
        if self.vertices.is_empty() {
            return Err(Error::Empty);
        }
        for (position, vertex) in self.vertices.iter().enumerate() {
            if vertex.id.index() != position {
                return Err(Error::OutOfPlace(format!("vertex {}", vertex.id.0)));
            }
            let (parallelism, partitions) = (vertex.parallelism, vertex.fragment.partitions);
            if parallelism == 0 || parallelism > partitions {
                return Err(Error::Parallelism { vertex: vertex.id.0, parallelism, partitions });
            }
        }
        self.edges.iter().enumerate().try_for_each(|(position, edge)| self.validate_edge(position, edge))
    }

    fn validate_edge(&self, position: usize, edge: &JobEdge) -> Result<(), Error> {
        let forward = edge.source < edge.target && edge.target.index() < self.vertices.len();
        if edge.id.index() != position || !forward {
            return Err(Error::OutOfPlace(format!("edge {}", edge.id)));
        }
        let target = &self.vertices[edge.target.index()];
        if edge.partitioning == Partitioning::Single && target.parallelism > 1 {
            return Err(Error::GatherIntoMany(edge.id.0));
        }
        Ok(())
    }

    /// The edges that lead into a vertex.
    pub fn inputs(&self, vertex: VertexId) -> impl Iterator<Item = &JobEdge> {
        self.edges.iter().filter(move |edge| edge.target == vertex)
    }

    /// The edges that lead out of a vertex.
    pub fn outputs(&self, vertex: VertexId) -> impl Iterator<Item = &JobEdge> {
        self.edges.iter().filter(move |edge| edge.source == vertex)
    }

    /// The largest parallelism of any vertex: the slots that the job needs, since subtasks of the same index share one.
    pub fn max_parallelism(&self) -> u32 {
        self.vertices.iter().map(|vertex| vertex.parallelism).max().unwrap_or(0)
    }

    /// Whether the client sees its rows as they come.
    pub fn has_live_result(&self) -> bool {
        self.vertices.iter().any(|vertex| vertex.output == VertexOutput::LiveResult)
    }

    /// All its subtasks.
    pub fn task_count(&self) -> u64 {
        self.vertices.iter().map(|vertex| u64::from(vertex.parallelism)).sum()
    }
}
