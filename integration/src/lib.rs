//! What the tests and the benchmarks share: data, expected answers, real services, clusters of processes.
//!
//! Lowest first; a module uses those above it.

pub mod cache;
pub mod comparison;
pub mod nexmark;
pub mod tpch;
pub mod tpch_check;
pub mod tpch_data;
pub mod web_hdfs;
pub mod namespaces;
pub mod hadoop;
pub mod kafka;
pub mod certificates;
pub mod node;
pub mod processes;
pub mod drill;
pub mod stream_drill;
pub mod quorum_drill;
pub mod folder_drill;
pub mod network_drill;
pub mod exactly_once;
pub mod bench;
