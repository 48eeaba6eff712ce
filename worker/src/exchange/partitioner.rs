//! Decides which subpartition gets which row of a batch.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
};
use bytes::Bytes;
use datafusion::{
    error::Result,
    execution::TaskContext,
    physical_expr::PhysicalExpr,
    physical_plan::{metrics::Time, repartition::BatchPartitioner},
};
use thalweg_graph::exchange::Partitioning;
use thalweg_plan::exec::codec;

use crate::state::key_group;

/// Deals batches to lanes. A lane is a subpartition, except that a broadcast has one lane for all of them.
pub enum Partitioner {
    /// By DataFusion's own repartitioning: seeded alike in all processes, one grouped `take` for each batch.
    Hash(BatchPartitioner),
    /// By the key groups that each consumer has.
    KeyGroups {
        /// The keys.
        keys: Vec<Arc<dyn PhysicalExpr>>,
        /// How many key groups there are.
        groups: u16,
        /// The number of lanes.
        lanes: usize,
    },
    /// Whole batches in turn.
    RoundRobin {
        /// The lane of the next batch.
        next: usize,
        /// The number of lanes.
        lanes: usize,
    },
    /// Everything to one lane.
    One(usize),
}

impl Partitioner {
    /// The partitioner of an edge for rows of `schema`, in the producer's `subtask`. `start` shifts the turn of a round robin, so that
    /// not every producer begins with the same consumer.
    pub fn new(
        partitioning: &Partitioning,
        subpartitions: usize,
        subtask: usize,
        start: usize,
        schema: &SchemaRef,
        context: &TaskContext,
    ) -> Result<Self> {
        Ok(match partitioning {
            Partitioning::Single | Partitioning::Broadcast => Partitioner::One(0),
            _ if subpartitions == 1 => Partitioner::One(0),
            Partitioning::Forward => Partitioner::One(subtask % subpartitions),
            Partitioning::RoundRobin => {
                Partitioner::RoundRobin { next: start % subpartitions, lanes: subpartitions }
            }
            Partitioning::Hash { expressions, .. } => {
                let expressions = decode(expressions, schema, context)?;
                let hash = BatchPartitioner::new_hash_partitioner(expressions, subpartitions, Time::new())?;
                Partitioner::Hash(hash)
            }
            Partitioning::KeyGroups { expressions, groups, .. } => Partitioner::KeyGroups {
                keys: decode(expressions, schema, context)?,
                groups: *groups,
                lanes: subpartitions,
            },
        })
    }

    /// The parts of a batch with their lanes.
    pub fn deal(&mut self, batch: RecordBatch) -> Result<Vec<(usize, RecordBatch)>> {
        match self {
            Partitioner::One(lane) => Ok(vec![(*lane, batch)]),
            Partitioner::RoundRobin { next, lanes } => {
                let lane = *next;
                *next = (lane + 1) % *lanes;
                Ok(vec![(lane, batch)])
            }
            Partitioner::Hash(hash) => hash.partition_iter(batch)?.collect(),
            Partitioner::KeyGroups { keys, groups, lanes } => {
                let rows = batch.num_rows();
                let keys = keys.iter().map(|key| key.evaluate(&batch)?.into_array(rows));
                let hashes = key_group::hashes(&keys.collect::<Result<Vec<_>>>()?, rows)?;
                let lane_of = |hash: u64| {
                    let group = key_group::of_hash(hash, *groups);
                    key_group::subtask_of(group, *groups, *lanes as u32) as usize
                };
                grouped(&batch, hashes.into_iter().map(lane_of), *lanes)
            }
        }
    }
}

fn decode(
    expressions: &[Bytes],
    schema: &SchemaRef,
    context: &TaskContext,
) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
    expressions.iter().map(|expression| codec::decode_expr(expression, schema, context)).collect()
}

/// The rows of each lane: one `take` that puts those of a lane next to each other, and slices of what it gives.
fn grouped(
    batch: &RecordBatch,
    lane_of_row: impl Iterator<Item = usize>,
    lanes: usize,
) -> Result<Vec<(usize, RecordBatch)>> {
    let lane_of_row: Vec<usize> = lane_of_row.collect();
    let mut ends = vec![0; lanes + 1];
    lane_of_row.iter().for_each(|lane| ends[lane + 1] += 1);
    (0..lanes).for_each(|lane| ends[lane + 1] += ends[lane]);
    let starts = ends.clone();
    let mut order = vec![0u32; lane_of_row.len()];
    for (row, lane) in lane_of_row.iter().enumerate() {
        order[ends[*lane]] = row as u32;
        ends[*lane] += 1;
    }
    if let Some(only) = (0..lanes).find(|lane| ends[*lane] - starts[*lane] == order.len()) {
        return Ok(vec![(only, batch.clone())]);
    }
    let ordered = take_record_batch(batch, &UInt32Array::from(order))?;
    let parts = (0..lanes).map(|lane| (lane, ordered.slice(starts[lane], ends[lane] - starts[lane])));
    Ok(parts.filter(|(_, part)| part.num_rows() > 0).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use arrow::{
        array::{Array as _, ArrayRef, AsArray as _, Int64Array},
        datatypes::Int64Type,
    };
    use datafusion::physical_expr::expressions::col;
    use proptest::prelude::*;

    use super::*;

    fn batch(keys: &[Option<i64>]) -> RecordBatch {
        let rows = Int64Array::from_iter_values(0..keys.len() as i64);
        let columns: [(&str, ArrayRef); 2] =
            [("key", Arc::new(Int64Array::from(keys.to_vec()))), ("row", Arc::new(rows))];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
    }

    fn by_key(schema: &SchemaRef, lanes: usize) -> Partitioner {
        let key = codec::encode_expr(&col("key", schema).unwrap()).unwrap();
        let hash = Partitioning::Hash { expressions: vec![key], display: "key@0".to_owned() };
        Partitioner::new(&hash, lanes, 0, 0, schema, &TaskContext::default()).unwrap()
    }

    fn by_key_group(schema: &SchemaRef, lanes: usize) -> Partitioner {
        let expressions = vec![codec::encode_expr(&col("key", schema).unwrap()).unwrap()];
        let groups = Partitioning::KeyGroups { expressions, display: "key@0".to_owned(), groups: 128 };
        Partitioner::new(&groups, lanes, 0, 0, schema, &TaskContext::default()).unwrap()
    }

    proptest! {
        /// Two partitioners stand for two producers: a key must go to the same lane from both.
        #[test]
        fn rows_are_neither_lost_nor_doubled_and_equal_keys_meet(
            keys in prop::collection::vec(prop::option::of(-5i64..5), 1..200), lanes in 1usize..9, by_groups in any::<bool>()
        ) {
            let batch = batch(&keys);
            let mut lane_of_key = BTreeMap::new();
            let partitioner = if by_groups { by_key_group } else { by_key };
            for mut partitioner in [partitioner(&batch.schema(), lanes), partitioner(&batch.schema(), lanes)] {
                let mut seen = HashMap::new();
                for (lane, part) in partitioner.deal(batch.clone()).unwrap() {
                    prop_assert!(lane < lanes);
                    let (key, row) = (part.column(0).as_primitive::<Int64Type>(), part.column(1).as_primitive::<Int64Type>());
                    for at in 0..part.num_rows() {
                        let key = key.is_valid(at).then(|| key.value(at));
                        prop_assert_eq!(key, keys[row.value(at) as usize]);
                        prop_assert_eq!(*lane_of_key.entry(key).or_insert(lane), lane);
                        prop_assert_eq!(seen.insert(row.value(at), lane), None);
                    }
                }
                prop_assert_eq!(seen.len(), keys.len());
            }
        }
    }

    #[test]
    fn a_round_robin_begins_elsewhere_for_each_producer() {
        let batch = batch(&[Some(1)]);
        let lanes = |start| {
            let schema = batch.schema();
            let context = TaskContext::default();
            let mut turn =
                Partitioner::new(&Partitioning::RoundRobin, 3, 0, start, &schema, &context).unwrap();
            [0; 4].map(|_| turn.deal(batch.clone()).unwrap()[0].0)
        };
        assert_eq!(lanes(0), [0, 1, 2, 0]);
        assert_eq!(lanes(5), [2, 0, 1, 2]);
    }
}
