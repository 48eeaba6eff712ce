//! The way of data: a worker takes tasks from the leader, runs their fragments on its compute threads, and moves rows between them.
//!
//! Orders come in over the [`leader_link`]; the [`task_table`] turns them into [`task`]s; tasks read and write through the
//! [`exchange`] and the connectors. Batches never run on the runtime that answers heartbeats.

pub mod config;
pub mod tmp_dir;
mod wall_clock;
pub mod runtime;
mod spill_pool;
pub mod memory;
pub mod watermark;
pub mod counters;
pub mod leader;
pub mod attempts;
pub mod state;
pub mod operator;
pub mod exchange;
pub mod task;
pub mod task_table;
pub mod leader_link;
pub mod worker;

pub use config::WorkerConfig;
pub use leader_link::LeaderLink;
pub use worker::{Error, Worker};
