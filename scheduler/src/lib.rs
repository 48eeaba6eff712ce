//! The way of control: from a submitted script or job graph to tasks on workers and committed output.
//!
//! Decisions are made by pure machines (`quorum`, `resource_manager`, `job_master`: state and input in, actions out; no clock, no
//! I/O, no randomness). The `dispatcher` runs them in one task and carries their actions out; `worker_gateway` and `rest` are
//! its doors. Planning and committing are handed in as traits, so that this crate knows neither SQL nor file systems.

#[cfg(test)]
mod testing;
pub mod clock;
pub mod beside;
pub mod disk;
pub mod ground;
pub mod access;
pub mod audit;
pub mod log_ring;
pub mod view;
pub mod planner;
pub mod committer;
pub mod checkpoint_storage;
pub mod history;
pub mod resource_manager;
pub mod job_master;
pub mod quorum;
pub mod result_store;
pub mod dispatcher;
pub mod worker_gateway;
pub mod artifact_store;
pub mod rest;
pub mod job_manager;
pub mod bench;

pub use access::{Login, Role};
pub use checkpoint_storage::CheckpointStorage;
pub use committer::Committer;
pub use disk::{Disk, Files};
pub use dispatcher::{DispatcherHandle, ResultStream, ScriptAccepted, ScriptJob, ScriptRequest};
pub use ground::Ground;
pub use history::{History, HistoryStorage};
pub use job_manager::{JobManager, JobManagerConfig};
pub use job_master::{SavepointOrder, savepoint_folder};
pub use log_ring::LogRing;
pub use planner::{Planner, Script, ScriptStatement, StatementOutcome};
pub use quorum::{LogLimits, MemberAddress, MemberConfig, QuorumMember, QuorumStatus};
pub use view::{JobDetails, JobEnd, JobProgress, JobSummary, SavepointStatus};
