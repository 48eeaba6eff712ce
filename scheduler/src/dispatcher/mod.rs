//! The driver of the control plane: one task that owns the pure machines, feeds them and carries out what they decide.

pub mod error;
pub mod request;
pub mod cluster;
mod reading;
pub(crate) mod input;
pub mod handle;
mod commit;
mod recover;
mod rescale;
mod script;
pub(crate) mod driver;

pub use error::Error;
pub use handle::{DispatcherHandle, ResultStream};
pub use request::{ScriptAccepted, ScriptJob, ScriptRequest};
