//! The user's end of Thalweg: the `thalweg` binary's commands, and the few types by which a Rust program runs SQL.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use thalweg::Client;
//!
//! let mut client = Client::embedded(Default::default()).await?;
//! let batches = client.sql("SELECT id, id * 2 FROM (VALUES (1), (2)) AS t (id)").await?;
//! assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! Modules are listed lowest first; a module uses only those above it.

pub mod large_buffers;
pub mod memory;
pub mod logging;
pub mod config;
pub mod output;
pub mod job_id;
pub mod connectors;
pub mod rows;
pub mod backend;
pub mod table_committer;
pub mod checkpoint_files;
pub mod history_files;
pub mod script_planner;
pub mod embedded;
pub mod remote;
pub mod client;
pub mod report;
pub mod progress;
pub mod interrupt;
pub mod terminal;
pub mod runner;
pub mod shell;
pub mod command;

pub use client::{Client, Execution};
