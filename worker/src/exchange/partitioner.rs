//! Decides which subpartition gets which row of a batch.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    error::Result,
    execution::TaskContext,
    physical_plan::{metrics::Time, repartition::BatchPartitioner},
};
use thalweg_graph::exchange::Partitioning;
use thalweg_plan::exec::codec;

/// Deals batches to lanes. A lane is a subpartition, except that a broadcast has one lane for all of them.
pub enum Partitioner {
    /// By DataFusion's own repartitioning: seeded alike in all processes, one grouped `take` for each batch.
    Hash(BatchPartitioner),
    /// Whole batches in turn.
    RoundRobin {
        /// The lane of the next batch.
        next: usize,
        /// The number of lanes.
        lanes: usize,
    },
    /// Everything to lane 0.
    One,
}

impl Partitioner {
    /// The partitioner of an edge for rows of `schema`. `start` shifts the turn of a round robin, so that not every producer begins
    /// with the same consumer.
    pub fn new(
        partitioning: &Partitioning,
        subpartitions: usize,
        start: usize,
        schema: &SchemaRef,
        context: &TaskContext,
    ) -> Result<Self> {
        Ok(match partitioning {
            Partitioning::Single | Partitioning::Broadcast => Partitioner::One,
            _ if subpartitions == 1 => Partitioner::One,
            Partitioning::RoundRobin => {
                Partitioner::RoundRobin { next: start % subpartitions, lanes: subpartitions }
            }
            Partitioning::Hash { expressions, .. } => {
                let expressions = expressions
                    .iter()
                    .map(|expression| codec::decode_expr(expression, schema, context))
                    .collect::<Result<Vec<Arc<_>>>>()?;
                let hash = BatchPartitioner::new_hash_partitioner(expressions, subpartitions, Time::new())?;
                Partitioner::Hash(hash)
            }
        })
    }

    /// The parts of a batch with their lanes.
    pub fn deal(&mut self, batch: RecordBatch) -> Result<Vec<(usize, RecordBatch)>> {
        match self {
            Partitioner::One => Ok(vec![(0, batch)]),
            Partitioner::RoundRobin { next, lanes } => {
                let lane = *next;
                *next = (lane + 1) % *lanes;
                Ok(vec![(lane, batch)])
            }
            Partitioner::Hash(hash) => hash.partition_iter(batch)?.collect(),
        }
    }
}
