//! How rows move between vertices: who gets which row, and whether the consumer runs beside the producer or after it.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Attempt, EdgeId, JobId, SubtaskId, VertexId, WorkerId};

/// Which consumer subtask gets a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioning {
    /// By a hash of expressions over the producer's columns, so that equal keys meet.
    Hash {
        /// Each expression as `datafusion-proto` bytes.
        expressions: Vec<Bytes>,
        /// The same for people: `l_orderkey@0`.
        display: String,
    },
    /// By the key group of expressions over the producer's columns: what the state of a stream is divided by. Unlike `Hash` it stays
    /// the same from build to build.
    KeyGroups {
        /// Each expression as `datafusion-proto` bytes.
        expressions: Vec<Bytes>,
        /// The same for people.
        display: String,
        /// How many key groups there are.
        groups: u16,
    },
    /// Each subtask's rows to the consumer's subtask of the same number: there are as many.
    Forward,
    /// Whole batches in turn.
    RoundRobin,
    /// Everything to the one consumer subtask.
    Single,
    /// Everything to every consumer subtask.
    Broadcast,
}

impl Partitioning {
    /// Flink's word for it, as plans print it.
    pub fn ship_strategy(&self) -> &'static str {
        match self {
            Partitioning::Hash { .. } | Partitioning::KeyGroups { .. } => "HASH",
            Partitioning::Forward => "FORWARD",
            Partitioning::RoundRobin => "REBALANCE",
            Partitioning::Single => "GLOBAL",
            Partitioning::Broadcast => "BROADCAST",
        }
    }
}

/// Whether both ends run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeKind {
    /// Producer and consumer run together; rows pass through bounded memory. Both restart together.
    Pipelined,
    /// The producer finishes first and keeps its output in a file on its worker.
    Blocking,
}

/// The output of one attempt over one edge, with one subpartition for each consumer subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResultPartitionId {
    /// Who made it.
    pub producer: Attempt,
    /// The edge it is for.
    pub edge: EdgeId,
}

/// Where one producer's output is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultPartitionLocation {
    /// The partition.
    pub id: ResultPartitionId,
    /// The worker that holds it.
    pub worker: WorkerId,
    /// That worker's data port, `host:port`.
    pub data_address: String,
}

/// All that a consumer subtask reads over one edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputGate {
    /// The edge.
    pub edge: EdgeId,
    /// How producers and consumer are timed.
    pub kind: ExchangeKind,
    /// The subpartition of each producer that is read (0 where `Single`, or where `Broadcast` keeps one copy for all).
    pub subpartition: u32,
    /// Every producer subtask, in order of its index.
    pub producers: Producers,
}

/// The producers of one edge, in order of subtask. All subtasks of a consumer read from the same list, so it is shared in memory,
/// and on the wire each worker is named once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ProducersWire", into = "ProducersWire")]
pub struct Producers(pub Arc<[ResultPartitionLocation]>);

impl Deref for Producers {
    type Target = [ResultPartitionLocation];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl FromIterator<ResultPartitionLocation> for Producers {
    fn from_iter<I: IntoIterator<Item = ResultPartitionLocation>>(locations: I) -> Self {
        Producers(locations.into_iter().collect())
    }
}

/// [`Producers`] as they travel.
#[derive(Serialize, Deserialize)]
struct ProducersWire {
    workers: Vec<(WorkerId, String)>,
    /// Partition and position of its worker in `workers`, for each run of partitions that differ only in subtask and attempt.
    runs: Vec<ProducerRun>,
}

#[derive(Serialize, Deserialize)]
struct ProducerRun {
    job: JobId,
    vertex: VertexId,
    edge: EdgeId,
    /// Subtask, attempt number, position of the worker.
    subtasks: Vec<(u32, u32, u32)>,
}

impl From<Producers> for ProducersWire {
    fn from(producers: Producers) -> Self {
        let mut positions = BTreeMap::<(&WorkerId, &str), u32>::new();
        let mut wire = ProducersWire { workers: Vec::new(), runs: Vec::<ProducerRun>::new() };
        for location in producers.iter() {
            let worker = *positions.entry((&location.worker, &location.data_address)).or_insert_with(|| {
                wire.workers.push((location.worker.clone(), location.data_address.clone()));
                wire.workers.len() as u32 - 1
            });
            let Attempt { job, subtask, number } = location.id.producer;
            let edge = location.id.edge;
            let entry = (subtask.index, number, worker);
            match wire.runs.last_mut() {
                Some(run) if (run.job, run.vertex, run.edge) == (job, subtask.vertex, edge) => {
                    run.subtasks.push(entry);
                }
                _ => wire.runs.push(ProducerRun { job, vertex: subtask.vertex, edge, subtasks: vec![entry] }),
            }
        }
        wire
    }
}

impl From<ProducersWire> for Producers {
    fn from(wire: ProducersWire) -> Self {
        let ProducersWire { workers, runs } = wire;
        let locate = |run: &ProducerRun, &(index, number, worker): &(u32, u32, u32)| {
            let subtask = SubtaskId { vertex: run.vertex, index };
            // A list that was not made by us may name a worker that it does not list; reading from it fails by its empty address.
            let (worker, data_address) = workers
                .get(worker as usize)
                .cloned()
                .unwrap_or_else(|| (WorkerId(String::new()), String::new()));
            let id =
                ResultPartitionId { producer: Attempt { job: run.job, subtask, number }, edge: run.edge };
            ResultPartitionLocation { id, worker, data_address }
        };
        runs.iter().flat_map(|run| run.subtasks.iter().map(move |entry| locate(run, entry))).collect()
    }
}

/// What a producer subtask writes over one edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultPartitionDescriptor {
    /// The partition to make.
    pub id: ResultPartitionId,
    /// Who gets which row.
    pub partitioning: Partitioning,
    /// How producers and consumer are timed.
    pub kind: ExchangeKind,
    /// The number of subpartitions: the parallelism of the consumer.
    pub subpartitions: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_survive_the_wire() {
        let location = |index: u32, worker: u32| ResultPartitionLocation {
            id: ResultPartitionId {
                producer: Attempt {
                    job: JobId(7),
                    subtask: SubtaskId { vertex: VertexId(1), index },
                    number: index % 2,
                },
                edge: EdgeId(3),
            },
            worker: WorkerId(format!("w{worker}")),
            data_address: format!("host-{worker}:1"),
        };
        let producers: Producers = (0..10).map(|index| location(index, index % 3)).collect();
        let wire = serde_json::to_string(&producers).unwrap();
        assert_eq!(serde_json::from_str::<Producers>(&wire).unwrap(), producers);
        assert_eq!(wire.matches("host-").count(), 3, "each worker is named once: {wire}");
    }
}
