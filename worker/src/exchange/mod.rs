//! Moving rows between tasks: each edge of a job graph, from the producer's rows to the consumer's stream.
//!
//! A producer deals its rows to subpartitions ([`partitioner`], [`result_partition`]). While both ends run, a subpartition is a bounded
//! queue, in which there is as much [`space`] as the consumer's [`pace`] allows; where the consumer runs later, it is a part of a
//! shuffle file. The [`partition_store`] keeps both. A consumer's [`input_gate`] takes them directly from its own worker's store, or
//! over one connection for each other worker ([`data_client`], [`data_server`]).

pub mod event;
pub mod fetch_failed;
pub mod frame;
pub mod block;
pub mod pace;
pub mod credit;
pub mod space;
pub mod subpartition_queue;
pub mod shuffle_file;
pub mod partition_store;
pub mod partitioner;
pub mod result_partition;
pub mod connection;
pub mod data_server;
pub mod data_client;
pub mod input_gate;

use std::{path::PathBuf, sync::Arc};

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use thalweg_graph::WorkerId;

use self::{data_client::DataClient, partition_store::PartitionStore};

/// One worker's part of all exchanges.
pub struct Exchange {
    /// Whose.
    pub worker: WorkerId,
    /// What its tasks wrote.
    pub store: Arc<PartitionStore>,
    /// Its way to other workers.
    pub client: DataClient,
    /// Folders for shuffle files, used in turn.
    pub shuffle_dirs: Vec<PathBuf>,
    /// Where queued bytes are counted.
    pub memory: MemoryReservation,
}

/// The name under which the memory pool lists what the exchange holds.
pub fn reservation(pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
    MemoryConsumer::new("exchange").register(pool)
}
