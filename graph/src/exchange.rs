//! How rows move between vertices: who gets which row, and whether the consumer runs beside the producer or after it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Attempt, EdgeId};

/// Which consumer subtask gets a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Partitioning {
    /// By a hash of expressions over the producer's columns, so that equal keys meet.
    Hash {
        /// Each expression as `datafusion-proto` bytes.
        expressions: Vec<Bytes>,
        /// The same for people: `l_orderkey@0`.
        display: String,
    },
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
            Partitioning::Hash { .. } => "HASH",
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
    pub worker: crate::WorkerId,
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
    pub producers: Vec<ResultPartitionLocation>,
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
