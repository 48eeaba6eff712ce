//! What a job is: Flink SQL in, job graph out.
//!
//! A script is split and parsed (`sql`), its statements run against a session's catalogs (`session`, `catalog`), queries and
//! inserts become DataFusion plans which `planner` cuts into a [`thalweg_graph::JobGraph`]. No sockets, no disks, no clock: what
//! planning must know of the world it asks through [`connect::Connectors`].
//!
//! Modules are listed lowest first; a module uses only those above it.

pub mod target;
pub mod panes;
pub mod memory;
mod words;
mod deep_stack;
mod bare_expr;
pub mod sql_type;
pub mod changes;
pub mod connect;
pub mod error;
pub mod functions;
mod estimate;
pub mod exec;
mod fingerprint;
pub mod rules;
pub mod session_config;
pub mod window;
pub mod versions;
pub mod stream;
pub mod catalog;
pub mod sql;
pub mod bind;
pub mod planner;
pub mod session;

pub use connect::Connectors;
pub use session::{Outcome, Prepared, Session};
pub use sql::{Statement, StatementKind, command::StopMode};
pub use target::Target;
