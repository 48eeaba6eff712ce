//! From a subtask with its slot to the order that a worker gets.

use std::sync::Arc;

use thalweg_graph::{
    JobEpoch, JobVertex, Options, SubtaskId, TaskDescriptor,
    exchange::{InputGate, Producers, ResultPartitionDescriptor, ResultPartitionId, ResultPartitionLocation},
    source::SourceSplits,
    task::{CheckpointFolder, TaskSplits},
};

use super::execution_graph::ExecutionGraph;
use crate::resource_manager::SlotWish;

/// What all subtasks that are deployed together are told.
#[derive(Clone)]
pub(super) struct Deployment {
    /// The job's epoch.
    pub epoch: JobEpoch,
    /// Whether joins are to be those that spill.
    pub spills_joins: bool,
    /// Of a stream: where its state is kept.
    pub checkpoints: Option<CheckpointFolder>,
}

impl ExecutionGraph {
    /// The order for a subtask. Its own slot and those of all its producers are known.
    pub(super) fn descriptor(
        &mut self,
        id: SubtaskId,
        deployment: Deployment,
        options: &Arc<Options>,
    ) -> Arc<TaskDescriptor> {
        let inputs = self.input_gates(id);
        let outputs = self.result_partitions(id);
        let slot = self.subtask(id).slot.as_ref().map_or(0, |(allocation, _)| allocation.0);
        let vertex = &self.graph.vertices[id.vertex.index()];
        let execution = &self.vertices[id.vertex.index()];
        Arc::new(TaskDescriptor {
            attempt: self.attempt(id),
            epoch: deployment.epoch,
            slot,
            name: vertex.name.clone(),
            build_id: self.graph.build_id.clone(),
            parallelism: vertex.parallelism,
            fragment: execution.fragment.clone(),
            splits: vertex.sources.iter().map(|source| task_splits(vertex, source, id.index)).collect(),
            inputs,
            outputs,
            output: execution.output.clone(),
            spills_joins: deployment.spills_joins,
            options: options.clone(),
            checkpoints: deployment.checkpoints,
        })
    }

    fn input_gates(&mut self, id: SubtaskId) -> Vec<InputGate> {
        let edges = self.vertices[id.vertex.index()].inputs.clone();
        edges
            .into_iter()
            .map(|edge| {
                let kind = self.graph.edges[edge.index()].kind;
                InputGate { edge, kind, subpartition: id.index, producers: self.producers(edge) }
            })
            .collect()
    }

    /// The producers of an edge, listed once for all consumers.
    fn producers(&mut self, edge: thalweg_graph::EdgeId) -> Producers {
        if let Some(known) = &self.edges[edge.index()].producers {
            return known.clone();
        }
        let source = self.graph.edges[edge.index()].source;
        let locate = |index: usize| {
            let subtask = SubtaskId { vertex: source, index: index as u32 };
            let location = self.subtask(subtask).location().expect("producers are deployed before consumers");
            ResultPartitionLocation {
                id: ResultPartitionId { producer: self.attempt(subtask), edge },
                worker: location.worker.clone(),
                data_address: location.data_address.clone(),
            }
        };
        let producers: Producers = (0..self.vertices[source.index()].subtasks.len()).map(locate).collect();
        self.edges[edge.index()].producers = Some(producers.clone());
        producers
    }

    fn result_partitions(&self, id: SubtaskId) -> Vec<ResultPartitionDescriptor> {
        let producer = self.attempt(id);
        let edges = self.vertices[id.vertex.index()].outputs.iter();
        edges
            .map(|edge| {
                let job_edge = &self.graph.edges[edge.index()];
                ResultPartitionDescriptor {
                    id: ResultPartitionId { producer, edge: *edge },
                    partitioning: job_edge.partitioning.clone(),
                    kind: job_edge.kind,
                    subpartitions: self.graph.vertices[job_edge.target.index()].parallelism,
                }
            })
            .collect()
    }

    /// What a subtask of any of these vertices wishes of its slot: to be where its splits are.
    pub(super) fn slot_wish(&self, vertices: &[thalweg_graph::VertexId], index: u32) -> SlotWish {
        let hosts = vertices.iter().flat_map(|vertex| {
            let vertex = &self.graph.vertices[vertex.index()];
            let sources = vertex.sources.iter().filter(|source| is_dealt(vertex, source));
            sources.map(move |source| source.preferred_hosts(index as usize))
        });
        SlotWish { preferred_hosts: hosts.into_iter().find(|hosts| !hosts.is_empty()).unwrap_or_default() }
    }
}

/// Whether the partitions of a scan are those of its fragment. A scan below a union has its own, and which of them a partition of the
/// fragment reads is known to the plan only.
fn is_dealt(vertex: &JobVertex, source: &SourceSplits) -> bool {
    source.partitions.len() == vertex.fragment.partitions as usize
}

/// A subtask's share of one scan: the partitions that it runs, or all of a scan that is not dealt by them.
fn task_splits(vertex: &JobVertex, source: &SourceSplits, index: u32) -> TaskSplits {
    let (first, step) = match is_dealt(vertex, source) {
        true => (index as usize, vertex.parallelism as usize),
        false => (0, 1),
    };
    let partitions = source.partitions.iter().enumerate().skip(first).step_by(step);
    let partitions = partitions.map(|(partition, splits)| (partition as u32, splits.clone())).collect();
    TaskSplits { scan: source.scan, partitions }
}
