//! The job as deployed: each vertex's subtasks with their current attempt.

use std::sync::Arc;

use thalweg_graph::{
    Attempt, EdgeId, Fragment, JobGraph, SubtaskId, TaskMetrics, TaskState, VertexId, VertexOutput,
    exchange::{ExchangeKind, Producers},
    table::Committable,
    task::SplitProgress,
};

use super::rates::RateMeter;
use crate::{
    clock::Timestamp,
    resource_manager::{AllocationId, Location},
    view::{SubtaskDetails, TaskCounts, VertexDetails, VertexProgress},
};

/// The job as deployed.
#[derive(Debug)]
pub struct ExecutionGraph {
    /// The job as submitted.
    pub graph: Arc<JobGraph>,
    /// In the graph's order.
    pub vertices: Vec<ExecutionVertex>,
    /// In the graph's order.
    pub edges: Vec<ExecutionEdge>,
}

/// A vertex as deployed.
#[derive(Debug)]
pub struct ExecutionVertex {
    /// Its position.
    pub id: VertexId,
    /// What its subtasks run.
    pub fragment: Arc<Fragment>,
    /// Where their rows leave the job.
    pub output: Arc<VertexOutput>,
    /// The edges that lead into it.
    pub inputs: Vec<EdgeId>,
    /// The edges that lead out of it.
    pub outputs: Vec<EdgeId>,
    /// Its subtasks.
    pub subtasks: Vec<Subtask>,
    /// Them by state.
    pub counts: TaskCounts,
}

/// An edge as deployed.
#[derive(Debug, Default)]
pub struct ExecutionEdge {
    /// The producers' list, while no producer has changed since it was made.
    pub producers: Option<Producers>,
    /// Whether the partitions were given up because every consumer had finished.
    pub released: bool,
}

/// A subtask with its current attempt.
#[derive(Debug, Clone, Default)]
pub struct Subtask {
    /// The attempt's number.
    pub attempt: u32,
    /// Where the attempt stands.
    pub state: Option<TaskState>,
    /// The slot it was deployed to.
    pub slot: Option<(AllocationId, Arc<Location>)>,
    /// When it was deployed.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Its counters.
    pub metrics: TaskMetrics,
    /// What it does in a second.
    pub meter: RateMeter,
    /// Of a source: its slowest splits.
    pub splits: Vec<SplitProgress>,
    /// What it has staged, once finished.
    pub committables: Vec<Committable>,
    /// Whether it had finished but its output over blocking edges is gone.
    pub output_lost: bool,
}

impl Subtask {
    /// Where the attempt stands.
    pub fn state(&self) -> TaskState {
        self.state.unwrap_or(TaskState::Created)
    }

    /// Whether a worker has it or is about to get it.
    pub fn is_live(&self) -> bool {
        matches!(self.state(), TaskState::Deploying | TaskState::Initializing | TaskState::Running)
    }

    /// The worker it was deployed to.
    pub fn location(&self) -> Option<&Arc<Location>> {
        self.slot.as_ref().map(|(_, location)| location)
    }
}

impl ExecutionGraph {
    /// Nothing deployed.
    pub fn new(graph: Arc<JobGraph>) -> Self {
        let mut vertices: Vec<_> = graph
            .vertices
            .iter()
            .map(|vertex| {
                let mut counts = TaskCounts::default();
                (0..vertex.parallelism).for_each(|_| counts.add(TaskState::Created));
                ExecutionVertex {
                    id: vertex.id,
                    fragment: Arc::new(vertex.fragment.clone()),
                    output: Arc::new(vertex.output.clone()),
                    inputs: Vec::new(),
                    outputs: Vec::new(),
                    subtasks: vec![Subtask::default(); vertex.parallelism as usize],
                    counts,
                }
            })
            .collect();
        for edge in &graph.edges {
            vertices[edge.source.index()].outputs.push(edge.id);
            vertices[edge.target.index()].inputs.push(edge.id);
        }
        let edges = graph.edges.iter().map(|_| ExecutionEdge::default()).collect();
        Self { graph, vertices, edges }
    }

    /// A subtask.
    pub fn subtask(&self, id: SubtaskId) -> &Subtask {
        &self.vertices[id.vertex.index()].subtasks[id.index as usize]
    }

    /// A subtask to be changed; its state by [`set_state`](Self::set_state) only.
    pub fn subtask_mut(&mut self, id: SubtaskId) -> &mut Subtask {
        &mut self.vertices[id.vertex.index()].subtasks[id.index as usize]
    }

    /// Changes a subtask's state and the counts by state.
    pub fn set_state(&mut self, id: SubtaskId, state: TaskState) {
        let vertex = &mut self.vertices[id.vertex.index()];
        let subtask = &mut vertex.subtasks[id.index as usize];
        vertex.counts.change(subtask.state(), state);
        subtask.state = Some(state);
    }

    /// The subtask whose current attempt this is; `None` for attempts of old, of other jobs, or of subtasks that do not exist.
    pub fn current(&self, attempt: Attempt) -> Option<&Subtask> {
        let vertex = self.vertices.get(attempt.subtask.vertex.index())?;
        let subtask = vertex.subtasks.get(attempt.subtask.index as usize)?;
        (attempt.job == self.graph.job && subtask.attempt == attempt.number && subtask.state.is_some())
            .then_some(subtask)
    }

    /// The current attempt of a subtask.
    pub fn attempt(&self, subtask: SubtaskId) -> Attempt {
        Attempt { job: self.graph.job, subtask, number: self.subtask(subtask).attempt }
    }

    /// All subtasks' ids.
    pub fn subtask_ids(&self) -> impl Iterator<Item = SubtaskId> + '_ {
        self.vertices.iter().flat_map(|vertex| {
            (0..vertex.subtasks.len() as u32).map(|index| SubtaskId { vertex: vertex.id, index })
        })
    }

    /// Whether all subtasks of a vertex have finished.
    pub fn vertex_finished(&self, vertex: VertexId) -> bool {
        let vertex = &self.vertices[vertex.index()];
        vertex.counts[TaskState::Finished] as usize == vertex.subtasks.len()
    }

    /// Whether consumers can read an edge: it is pipelined, or all producers have finished and their output is still there.
    pub fn edge_ready(&self, edge: EdgeId) -> bool {
        let source = self.graph.edges[edge.index()].source;
        self.is_pipelined(edge) || (self.vertex_finished(source) && !self.edges[edge.index()].released)
    }

    /// Whether both ends of an edge run at once.
    pub fn is_pipelined(&self, edge: EdgeId) -> bool {
        self.graph.edges[edge.index()].kind == ExchangeKind::Pipelined
    }

    /// Whether everything that leaves the job has left it.
    pub fn output_complete(&self) -> bool {
        let mut last = self
            .vertices
            .iter()
            .filter(|vertex| vertex.outputs.is_empty() || !matches!(*vertex.output, VertexOutput::Edges));
        last.all(|vertex| self.vertex_finished(vertex.id))
    }

    /// A vertex for readers.
    pub fn vertex_details(&self, vertex: VertexId) -> VertexDetails {
        let execution = &self.vertices[vertex.index()];
        let mut metrics = TaskMetrics::default();
        execution.subtasks.iter().for_each(|subtask| metrics.add(&subtask.metrics));
        let ended = execution.subtasks.iter().map(|subtask| subtask.ended).collect::<Option<Vec<_>>>();
        VertexDetails {
            id: vertex,
            name: self.graph.vertices[vertex.index()].name.clone(),
            parallelism: execution.subtasks.len() as u32,
            tasks: execution.counts,
            started: execution.subtasks.iter().filter_map(|subtask| subtask.started).min(),
            ended: ended.and_then(|ends| ends.into_iter().max()),
            metrics,
        }
    }

    /// A vertex for those who watch.
    pub fn vertex_progress(&self, vertex: VertexId) -> VertexProgress {
        let execution = &self.vertices[vertex.index()];
        let mut metrics = TaskMetrics::default();
        execution.subtasks.iter().for_each(|subtask| metrics.add(&subtask.metrics));
        VertexProgress {
            name: self.graph.vertices[vertex.index()].name.clone(),
            parallelism: execution.subtasks.len() as u32,
            running: execution.counts[TaskState::Running],
            finished: execution.counts[TaskState::Finished],
            metrics,
        }
    }

    /// Every vertex's subtasks for readers.
    pub fn all_subtask_details(&self) -> Vec<Vec<SubtaskDetails>> {
        self.vertices.iter().map(|vertex| self.subtask_details(vertex.id)).collect()
    }

    /// A vertex's subtasks for readers.
    pub fn subtask_details(&self, vertex: VertexId) -> Vec<SubtaskDetails> {
        let subtasks = self.vertices[vertex.index()].subtasks.iter().enumerate();
        subtasks
            .map(|(index, subtask)| SubtaskDetails {
                index: index as u32,
                attempt: subtask.attempt,
                state: subtask.state(),
                worker: subtask.location().map(|location| location.worker.clone()),
                endpoint: subtask.location().map(|location| location.data_address.clone()),
                started: subtask.started,
                ended: subtask.ended,
                metrics: subtask.metrics,
                rates: subtask.meter.rates(),
            })
            .collect()
    }
}
