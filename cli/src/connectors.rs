//! The connectors as this process uses them.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use thalweg_connectors::{BuiltinConnectors, ConnectorsConfig};
use thalweg_worker::WorkerConfig;
use tokio::runtime::Handle;

/// Opens the connectors for planning and committing. What waits for HDFS does so on the current runtime, never on the threads that
/// compute.
pub fn open() -> Result<Arc<BuiltinConnectors>> {
    open_with(ConnectorsConfig::default())
}

/// Opens the connectors of a process with a worker: what they buffer comes out of its memory.
pub fn open_for(worker: &WorkerConfig) -> Result<Arc<BuiltinConnectors>> {
    let memory_pool = Some(thalweg_worker::memory::pool(worker.memory_bytes));
    open_with(ConnectorsConfig { memory_pool, ..ConnectorsConfig::default() })
}

fn open_with(config: ConnectorsConfig) -> Result<Arc<BuiltinConnectors>> {
    let config = ConnectorsConfig { io_runtime: Some(Handle::current()), ..config };
    BuiltinConnectors::new(config).context("cannot set up the connectors")
}
