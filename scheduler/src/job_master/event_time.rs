//! What holds event time back: for each vertex the source, its subtask and its split whose time is lowest above it.

use thalweg_graph::{SubtaskId, TaskState, VertexId};

use super::execution_graph::{ExecutionGraph, Subtask};
use crate::view::{HeldBack, VertexEventTime};

/// How far event time has come in each vertex, and what it waits for.
pub fn explain(execution: &ExecutionGraph) -> Vec<VertexEventTime> {
    let vertices = execution.vertices.iter().map(|vertex| {
        let source = source_of(execution, vertex.id);
        VertexEventTime {
            vertex: vertex.id,
            name: execution.graph.vertices[vertex.id.index()].name.clone(),
            watermark_ms: slowest(execution, &[vertex.id])
                .and_then(|(_, subtask)| subtask.metrics.watermark_ms),
            held_by: source.and_then(|source| held_by(execution, source)),
        }
    });
    vertices.collect()
}

/// The source that the slowest way into a vertex begins with.
fn source_of(execution: &ExecutionGraph, vertex: VertexId) -> Option<VertexId> {
    let mut at = vertex;
    loop {
        let edges = &execution.vertices[at.index()].inputs;
        if edges.is_empty() {
            return Some(at);
        }
        let producers: Vec<_> = edges.iter().map(|edge| execution.graph.edges[edge.index()].source).collect();
        // Producers stand before their consumers, so that this comes to an end.
        at = slowest(execution, &producers)?.0.vertex;
    }
}

/// The subtask of these vertices that event time waits for: none that has ended or that nobody waits for.
fn slowest<'a>(execution: &'a ExecutionGraph, vertices: &[VertexId]) -> Option<(SubtaskId, &'a Subtask)> {
    let subtasks = vertices.iter().flat_map(|vertex| {
        let subtasks = execution.vertices[vertex.index()].subtasks.iter().enumerate();
        subtasks.map(move |(index, subtask)| (SubtaskId { vertex: *vertex, index: index as u32 }, subtask))
    });
    let waited_for =
        subtasks.filter(|(_, subtask)| subtask.state() != TaskState::Finished && !subtask.metrics.is_idle);
    waited_for.min_by_key(|(_, subtask)| subtask.metrics.watermark_ms)
}

fn held_by(execution: &ExecutionGraph, source: VertexId) -> Option<HeldBack> {
    let (id, subtask) = slowest(execution, &[source])?;
    let split = subtask.splits.iter().find(|split| !split.is_idle);
    Some(HeldBack {
        vertex: source,
        name: execution.graph.vertices[source.index()].name.clone(),
        subtask: id.index,
        split: split.map(|split| split.split.clone()),
        watermark_ms: split.map_or(subtask.metrics.watermark_ms, |split| split.watermark_ms),
    })
}
