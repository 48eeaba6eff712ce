//! The connectors as this process uses them.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use thalweg_connectors::{BuiltinConnectors, ConnectorsConfig};
use tokio::runtime::Handle;

/// Opens the connectors. What waits for HDFS does so on the current runtime, never on the threads that compute.
pub fn open() -> Result<Arc<BuiltinConnectors>> {
    let config = ConnectorsConfig { io_runtime: Some(Handle::current()), ..ConnectorsConfig::default() };
    BuiltinConnectors::new(config).context("cannot set up the connectors")
}
