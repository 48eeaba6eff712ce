//! Cuts a physical plan into the vertices of a job graph, at the places where rows change partitions.
//!
//! | where | edge | what the consumer reads |
//! |---|---|---|
//! | repartition by hash | hash | its own subpartition of every producer |
//! | coalesce into one partition | single | everything |
//! | sort-preserving merge | single | each producer by itself, merged in order |
//! | collected build side of a join | broadcast | everything, in each subtask |
//! | input of a union with fewer partitions | round robin | its own subpartition of every producer |
//!
//! A vertex has as many subtasks as its fragment has partitions, and within a fragment partition `i` of a source always
//! belongs to subtask `i`. What is exchanged in several places, such as a view that a query names twice, is computed by one vertex.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use datafusion::{
    common::{
        Result, internal_err,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    physical_expr::{EquivalenceProperties, Partitioning as Distribution},
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties,
        coalesce_partitions::CoalescePartitionsExec,
        execution_plan::replace_children_if_necessary,
        joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode},
        limit::{GlobalLimitExec, LocalLimitExec},
        repartition::RepartitionExec,
        sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
        union::UnionExec,
    },
};
use thalweg_graph::{EdgeId, VertexId, VertexOutput, exchange::Partitioning};

use crate::{
    estimate::estimated_bytes,
    exec::{ExchangeSourceExec, PartitionwiseUnionExec, codec},
    fingerprint::fingerprint,
    rules::emits_unmatched_build_rows,
};

/// The vertices and edges of a job, before splits are dealt and fragments encoded.
#[derive(Default)]
pub(super) struct Cut {
    /// Producers before consumers.
    pub vertices: Vec<CutVertex>,
    /// In order of their ids.
    pub edges: Vec<CutEdge>,
    /// Producers that may be wanted again, by what they compute.
    producers: HashMap<Bytes, VertexId>,
}

/// A vertex to be.
pub(super) struct CutVertex {
    /// What it runs.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Where its rows leave the job.
    pub output: VertexOutput,
    /// What it puts out, by estimate.
    pub bytes: Option<u64>,
}

/// An edge to be.
pub(super) struct CutEdge {
    /// The producer.
    pub source: VertexId,
    /// The consumer.
    pub target: VertexId,
    /// Who gets which row.
    pub partitioning: Partitioning,
}

/// A vertex that is being put together: the edges that it reads so far.
#[derive(Default)]
struct Inputs(Vec<EdgeId>);

impl Cut {
    /// Cuts a plan; the rows of its last vertex go to `output`.
    pub fn add_root(&mut self, plan: &Arc<dyn ExecutionPlan>, output: VertexOutput) -> Result<()> {
        let plan = gather_probes(Arc::clone(plan))?;
        self.add_vertex(&plan, output)?;
        Ok(())
    }

    /// Adds a plan as one vertex that is not cut.
    pub fn add_whole(&mut self, plan: Arc<dyn ExecutionPlan>, output: VertexOutput) {
        let bytes = estimated_bytes(&plan);
        self.vertices.push(CutVertex { plan, output, bytes });
    }

    fn add_vertex(&mut self, plan: &Arc<dyn ExecutionPlan>, output: VertexOutput) -> Result<VertexId> {
        let bytes = estimated_bytes(plan);
        let mut inputs = Inputs::default();
        let plan = self.fragment(plan, &mut inputs)?;
        let id = VertexId(self.vertices.len() as u32);
        for edge in inputs.0 {
            self.edges[edge.index()].target = id;
        }
        self.vertices.push(CutVertex { plan, output, bytes });
        Ok(id)
    }

    /// Makes `producer` a vertex of its own, and returns the edge on which a consumer reads it.
    fn exchange(
        &mut self,
        producer: &Arc<dyn ExecutionPlan>,
        partitioning: Partitioning,
        inputs: &mut Inputs,
    ) -> Result<EdgeId> {
        let source = self.producer(producer)?;
        let id = EdgeId(self.edges.len() as u32);
        // The consumer's id is not known before all its inputs are: `add_vertex` puts it in.
        self.edges.push(CutEdge { source, target: source, partitioning });
        inputs.0.push(id);
        Ok(id)
    }

    /// The vertex that computes a plan: one for all who read the same.
    fn producer(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Result<VertexId> {
        let Some(fingerprint) = fingerprint(plan)? else {
            return self.add_vertex(plan, VertexOutput::Edges);
        };
        if let Some(known) = self.producers.get(&fingerprint) {
            return Ok(*known);
        }
        let vertex = self.add_vertex(plan, VertexOutput::Edges)?;
        self.producers.insert(fingerprint, vertex);
        Ok(vertex)
    }

    /// Whether several edges lead out of a vertex.
    pub fn is_shared(&self, vertex: VertexId) -> bool {
        self.edges.iter().filter(|edge| edge.source == vertex).nth(1).is_some()
    }

    /// The part of a plan that stays in the vertex of its root.
    fn fragment(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        inputs: &mut Inputs,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(repartition) = node.downcast_ref::<RepartitionExec>() {
            return self.repartition(node, repartition, inputs);
        }
        if let Some(coalesce) = node.downcast_ref::<CoalescePartitionsExec>() {
            return self.coalesce(coalesce, inputs);
        }
        if let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() {
            return self.merge(node, merge, inputs);
        }
        if let Some(build) = collected_build_side(node) {
            return self.collect_join(node, &Arc::clone(build), inputs);
        }
        if node.downcast_ref::<PartitionwiseUnionExec>().is_some() {
            return self.union(node, inputs);
        }
        if node.downcast_ref::<UnionExec>().is_some() && partitions(node) > 1 {
            return internal_err!("a union was not prepared for cutting");
        }
        let children = node.children().into_iter().map(|child| self.fragment(child, inputs));
        let children = children.collect::<Result<Vec<_>>>()?;
        replace_children_if_necessary(Arc::clone(node), children)
    }

    fn repartition(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        repartition: &RepartitionExec,
        inputs: &mut Inputs,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = repartition.input();
        if partitions(input) == 1 && partitions(node) == 1 {
            return self.fragment(input, inputs);
        }
        let partitioning = match repartition.partitioning() {
            Distribution::Hash(expressions, _) => Partitioning::Hash {
                expressions: expressions.iter().map(codec::encode_expr).collect::<Result<_>>()?,
                display: expressions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            },
            Distribution::RoundRobinBatch(_) | Distribution::UnknownPartitioning(_) => {
                Partitioning::RoundRobin
            }
            Distribution::Range(_) => return internal_err!("rows cannot be exchanged by ranges"),
        };
        let edge = self.exchange(input, partitioning, inputs)?;
        let properties = node.properties();
        let mut equivalences = properties.eq_properties.clone();
        let ordering = properties.output_ordering().cloned();
        equivalences.clear_orderings();
        let source = source(edge, false, equivalences, properties.partitioning.clone());
        // Merging the producers in order would need all of them to keep pace: sort again instead.
        Ok(match ordering {
            Some(ordering) => Arc::new(SortExec::new(ordering, source).with_preserve_partitioning(true)),
            None => source,
        })
    }

    fn coalesce(
        &mut self,
        coalesce: &CoalescePartitionsExec,
        inputs: &mut Inputs,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = coalesce.input();
        let gathered = if partitions(input) == 1 {
            self.fragment(input, inputs)?
        } else {
            let limited: Arc<dyn ExecutionPlan> = match coalesce.fetch() {
                Some(fetch) => Arc::new(LocalLimitExec::new(Arc::clone(input), fetch)),
                None => Arc::clone(input),
            };
            let edge = self.exchange(&limited, Partitioning::Single, inputs)?;
            let equivalences = unordered(input);
            source(edge, false, equivalences, Distribution::UnknownPartitioning(1))
        };
        Ok(match coalesce.fetch() {
            Some(fetch) => Arc::new(GlobalLimitExec::new(gathered, 0, Some(fetch))),
            None => gathered,
        })
    }

    fn merge(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        merge: &SortPreservingMergeExec,
        inputs: &mut Inputs,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = merge.input();
        let count = partitions(input);
        let merged = if count == 1 {
            self.fragment(input, inputs)?
        } else {
            let edge = self.exchange(input, Partitioning::Single, inputs)?;
            let equivalences = input.equivalence_properties().clone();
            source(edge, true, equivalences, Distribution::UnknownPartitioning(count))
        };
        replace_children_if_necessary(Arc::clone(node), vec![merged])
    }

    /// A join whose build side every subtask reads as a whole.
    fn collect_join(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        build: &Arc<dyn ExecutionPlan>,
        inputs: &mut Inputs,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let probe = Arc::clone(node.children()[1]);
        let build = if partitions(&probe) == 1 {
            self.fragment(build, inputs)?
        } else {
            let producer = match build.downcast_ref::<CoalescePartitionsExec>() {
                Some(coalesce) if coalesce.fetch().is_none() => coalesce.input(),
                _ => build,
            };
            let edge = self.exchange(producer, Partitioning::Broadcast, inputs)?;
            source(edge, false, unordered(build), Distribution::UnknownPartitioning(1))
        };
        let probe = self.fragment(&probe, inputs)?;
        replace_children_if_necessary(Arc::clone(node), vec![build, probe])
    }

    /// Inputs with fewer partitions than the union are spread over all of them, unless they are mere scans.
    fn union(
        &mut self,
        node: &Arc<dyn ExecutionPlan>,
        inputs: &mut Inputs,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let count = partitions(node);
        let mut children = Vec::new();
        for child in node.children() {
            if partitions(child) == count || !has_cuts(child)? {
                children.push(self.fragment(child, inputs)?);
                continue;
            }
            let edge = self.exchange(child, Partitioning::RoundRobin, inputs)?;
            children.push(source(edge, false, unordered(child), Distribution::UnknownPartitioning(count)));
        }
        replace_children_if_necessary(Arc::clone(node), children)
    }
}

fn source(
    edge: EdgeId,
    per_producer: bool,
    equivalences: EquivalenceProperties,
    partitioning: Distribution,
) -> Arc<dyn ExecutionPlan> {
    Arc::new(ExchangeSourceExec::new(edge, per_producer, equivalences, partitioning))
}

fn partitions(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.output_partitioning().partition_count()
}

fn unordered(plan: &Arc<dyn ExecutionPlan>) -> EquivalenceProperties {
    let mut equivalences = plan.equivalence_properties().clone();
    equivalences.clear_orderings();
    if partitions(plan) > 1 {
        equivalences.clear_per_partition_constants();
    }
    equivalences
}

/// The side that a join collects before it reads the other, where all partitions of the join share it.
fn collected_build_side(node: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return (*join.partition_mode() == PartitionMode::CollectLeft).then(|| join.left());
    }
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        return Some(join.left());
    }
    node.downcast_ref::<CrossJoinExec>().map(CrossJoinExec::left)
}

fn has_cuts(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| {
        Ok(node.downcast_ref::<RepartitionExec>().is_some()
            || node.downcast_ref::<CoalescePartitionsExec>().is_some()
            || node.downcast_ref::<SortPreservingMergeExec>().is_some()
            || collected_build_side(node).is_some())
    })
}

/// Gives joins that collect their build side and return its unmatched rows a single probe partition: on several workers
/// each would return the rows that only it did not match.
fn gather_probes(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let unmatched = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
            *join.partition_mode() == PartitionMode::CollectLeft
                && emits_unmatched_build_rows(*join.join_type())
        } else if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            emits_unmatched_build_rows(*join.join_type())
        } else {
            false
        };
        if !unmatched || partitions(node.children()[1]) == 1 {
            return Ok(Transformed::no(node));
        }
        let (build, probe) = (Arc::clone(node.children()[0]), Arc::clone(node.children()[1]));
        let probe: Arc<dyn ExecutionPlan> = match probe.output_ordering().cloned() {
            Some(ordering) => Arc::new(SortPreservingMergeExec::new(ordering, probe)),
            None => Arc::new(CoalescePartitionsExec::new(probe)),
        };
        let partitioning = node.output_partitioning().clone();
        let join = replace_children_if_necessary(node, vec![build, probe])?;
        Ok(Transformed::yes(match partitioning {
            Distribution::Hash(..) => Arc::new(RepartitionExec::try_new(join, partitioning)?),
            _ => join,
        }))
    })
    .data()
}
