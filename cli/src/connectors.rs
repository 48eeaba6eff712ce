//! The connectors as this process uses them.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use thalweg_connectors::{BuiltinConnectors, ConnectorsConfig, file_system::retry::Patience};
use thalweg_graph::{Options, options};
use thalweg_worker::WorkerConfig;
use tokio::runtime::Handle;

/// Opens the connectors for planning and committing. What waits for HDFS does so on the current runtime, never on the threads that
/// compute.
pub fn open(options: &Options) -> Result<Arc<BuiltinConnectors>> {
    open_with(options, ConnectorsConfig::default())
}

/// Opens the connectors of a process with a worker: what they buffer comes out of its memory.
pub fn open_for(options: &Options, worker: &WorkerConfig) -> Result<Arc<BuiltinConnectors>> {
    let memory_pool = Some(thalweg_worker::memory::pool(worker.memory_bytes));
    open_with(options, ConnectorsConfig { memory_pool, ..ConnectorsConfig::default() })
}

fn open_with(options: &Options, config: ConnectorsConfig) -> Result<Arc<BuiltinConnectors>> {
    let patience = Patience::of(options.get(&options::HDFS_RETRY_TIMEOUT)?);
    let folders = [options.get(&options::CHECKPOINT_DIR)?, options.get(&options::SAVEPOINT_DIR)?];
    let config = ConnectorsConfig {
        patience,
        io_runtime: Some(Handle::current()),
        allowed_paths: listed(&options.get(&options::PATHS_ALLOW)?),
        state_paths: folders.into_iter().filter(|folder| !folder.is_empty()).collect(),
        ..config
    };
    BuiltinConnectors::new(config).context("cannot set up the connectors")
}

/// The parts of a list that commas separate.
fn listed(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}
