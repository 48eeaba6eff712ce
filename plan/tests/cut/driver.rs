//! Runs a job graph in this process, one subtask after another, its exchanges kept in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use datafusion::{
    arrow::{array::RecordBatch, datatypes::SchemaRef},
    error::Result,
    execution::{SendableRecordBatchStream, SessionState, TaskContext},
    physical_plan::{
        ExecutionPlanProperties, memory::MemoryStream, metrics::Time, repartition::BatchPartitioner,
    },
};
use futures::TryStreamExt;
use thalweg_graph::{EdgeId, JobEdge, JobGraph, JobVertex, exchange::Partitioning, task::TaskSplits};
use thalweg_plan::exec::{Channel, ExchangeReader, OpenExchange, codec, put_splits};

/// Batches by edge, producer subtask and subpartition.
type Exchanges = HashMap<(EdgeId, u32, u32), Vec<RecordBatch>>;

/// What one subtask may read.
struct SubtaskInputs {
    exchanges: Arc<Mutex<Exchanges>>,
    /// Edge to its producers and the subpartition that this subtask reads of each.
    gates: HashMap<EdgeId, (u32, u32)>,
}

impl OpenExchange for SubtaskInputs {
    fn open(&self, edge: EdgeId, channel: Channel, schema: SchemaRef) -> Result<SendableRecordBatchStream> {
        let (producers, subpartition) = self.gates[&edge];
        let wanted = match channel {
            Channel::All => 0..producers,
            Channel::Producer(producer) => producer as u32..producer as u32 + 1,
        };
        let exchanges = self.exchanges.lock().unwrap();
        let batches: Vec<_> = wanted
            .flat_map(|producer| exchanges.get(&(edge, producer, subpartition)).cloned().unwrap_or_default())
            .map(|batch| batch.with_schema(Arc::clone(&schema)))
            .collect::<Result<_, _>>()?;
        Ok(Box::pin(MemoryStream::try_new(batches, schema, None)?))
    }
}

/// Runs every vertex of a graph and returns the rows of those that leave the job.
pub async fn run(graph: &JobGraph, state: &SessionState) -> Result<Vec<RecordBatch>> {
    let exchanges = Arc::new(Mutex::new(Exchanges::new()));
    let mut results = Vec::new();
    for vertex in &graph.vertices {
        for subtask in 0..vertex.parallelism {
            let outputs: Vec<_> = graph.outputs(vertex.id).collect();
            let batches = run_subtask(graph, vertex, subtask, &exchanges, state).await?;
            if outputs.is_empty() {
                results.extend(batches.iter().cloned());
            }
            for edge in outputs {
                let consumers = graph.vertices[edge.target.index()].parallelism;
                send(edge, subtask, consumers, &batches, &exchanges, state)?;
            }
        }
    }
    Ok(results)
}

async fn run_subtask(
    graph: &JobGraph,
    vertex: &JobVertex,
    subtask: u32,
    exchanges: &Arc<Mutex<Exchanges>>,
    state: &SessionState,
) -> Result<Vec<RecordBatch>> {
    let gates = graph.inputs(vertex.id).map(|edge| {
        let producers = graph.vertices[edge.source.index()].parallelism;
        let own = matches!(edge.partitioning, Partitioning::Hash { .. } | Partitioning::RoundRobin);
        (edge.id, (producers, if own { subtask } else { 0 }))
    });
    let inputs = SubtaskInputs { exchanges: Arc::clone(exchanges), gates: gates.collect() };
    let context = TaskContext::from(state);
    let config = context.session_config().clone().with_extension(Arc::new(ExchangeReader(Arc::new(inputs))));
    let context = Arc::new(context.with_session_config(config));
    let splits: Vec<TaskSplits> = vertex
        .sources
        .iter()
        .map(|source| {
            let own = source
                .partitions
                .iter()
                .enumerate()
                .filter(|(partition, _)| *partition as u32 % vertex.parallelism == subtask);
            let partitions = own.map(|(partition, splits)| (partition as u32, splits.clone())).collect();
            TaskSplits { scan: source.scan, partitions }
        })
        .collect();
    let plan = put_splits(codec::decode(&vertex.fragment.plan, &context)?, &splits)?;
    assert_eq!(plan.output_partitioning().partition_count() as u32, vertex.fragment.partitions);
    let mut batches = Vec::new();
    for partition in (subtask..vertex.fragment.partitions).step_by(vertex.parallelism as usize) {
        let stream = plan.execute(partition as usize, Arc::clone(&context))?;
        batches.extend(stream.try_collect::<Vec<_>>().await?);
    }
    Ok(batches)
}

fn send(
    edge: &JobEdge,
    producer: u32,
    consumers: u32,
    batches: &[RecordBatch],
    exchanges: &Mutex<Exchanges>,
    state: &SessionState,
) -> Result<()> {
    let mut exchanges = exchanges.lock().unwrap();
    let Some(first) = batches.first() else { return Ok(()) };
    let mut partitioner = match &edge.partitioning {
        Partitioning::Single | Partitioning::Broadcast => {
            exchanges.insert((edge.id, producer, 0), batches.to_vec());
            return Ok(());
        }
        Partitioning::Forward => panic!("a batch forwards nothing"),
        Partitioning::RoundRobin => BatchPartitioner::new_round_robin_partitioner(
            consumers as usize,
            Time::new(),
            producer as usize,
            1,
        ),
        // Key groups are for streams, which do not run here.
        Partitioning::Hash { expressions, .. } | Partitioning::KeyGroups { expressions, .. } => {
            let schema = first.schema();
            let context = TaskContext::from(state);
            let expressions = expressions.iter().map(|bytes| codec::decode_expr(bytes, &schema, &context));
            let expressions = expressions.collect::<Result<Vec<_>>>()?;
            BatchPartitioner::new_hash_partitioner(expressions, consumers as usize, Time::new())?
        }
    };
    for batch in batches {
        partitioner.partition(batch.clone(), |subpartition, batch| {
            exchanges.entry((edge.id, producer, subpartition as u32)).or_default().push(batch);
            Ok(())
        })?;
    }
    Ok(())
}
