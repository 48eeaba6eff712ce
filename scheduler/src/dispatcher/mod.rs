//! The driver of the control plane: one task that owns the pure machines, feeds them and carries out what they decide.

pub mod cluster;
pub mod error;
pub mod handle;
pub mod request;
mod reading;

pub use error::Error;
pub use handle::{DispatcherHandle, ResultStream};
pub use request::{ScriptAccepted, ScriptJob, ScriptRequest};
