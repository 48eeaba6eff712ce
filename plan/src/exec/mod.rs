//! The nodes that we add to DataFusion's physical plans, and how a fragment travels as bytes.
//!
//! The planner puts these nodes into fragments; a worker gives them life through the extension traits
//! ([`OpenExchange`], [`OpenSource`]), which it hangs into the session config of the task that runs the fragment.

pub mod connector_source;
pub mod exchange_source;
pub mod runtime_filtered_scan;
pub mod union;

pub mod codec;
pub mod splits;
pub mod own_partition;

pub use connector_source::{ConnectorReader, ConnectorScan, ConnectorSourceExec, OpenSource, SKIPPED_ROWS};
pub use exchange_source::{Channel, ExchangeReader, ExchangeSourceExec, OpenExchange};
pub use own_partition::own_partition;
pub use runtime_filtered_scan::RuntimeFilteredScanExec;
pub use splits::put_splits;
pub use union::PartitionwiseUnionExec;
