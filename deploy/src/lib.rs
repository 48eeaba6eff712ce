//! Where workers come from: through one trait, the JobManager starts them, or expects them and lets them come by themselves.

pub mod deployment;
pub mod process;
pub mod standalone;

pub use deployment::{Container, Deployment, Error};
pub use process::{Process, ProcessConfig};
pub use standalone::Standalone;
