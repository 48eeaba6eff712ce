//! The words between the JobManager and its workers, and the one connection that carries them. Nothing else.
//!
//! A worker opens a session to the JobManager's control port (an HTTP/1.1 upgrade at [`WORKER_SESSION_PATH`]); both sides then
//! send length-prefixed `postcard` messages. In embedded mode the same session is a pair of channels. Processes that share a secret prove
//! so to each other before they say anything else, within TLS where that is on ([`trust`]).

pub mod message;
pub mod session;
pub mod network;
pub mod unread;
pub mod farewell;
pub mod secret;
pub mod handshake;
pub mod plain;
pub mod tls;
pub mod trust;
pub mod upgrade;
pub mod call;

pub use message::{LIVE_CHUNKS_MAX, Registration, RunningTask, TaskUpdate, ToLeader, ToWorker};
pub use network::{Network, Tcp};
pub use session::Session;
pub use tls::Tls;
pub use trust::Trust;

/// The path at which a worker asks for its session.
pub const WORKER_SESSION_PATH: &str = "/internal/v1/workers/session";
/// The protocol named in the HTTP upgrade.
pub const WORKER_SESSION_PROTOCOL: &str = "thalweg-worker/1";
/// The path at which a JobManager of a quorum says who leads.
pub const LEADER_PATH: &str = "/internal/v1/leader";
