//! Where the JobManager has workers started, through one trait. Workers that somebody else starts need none of it: they come by
//! themselves and register.

pub mod deployment;
pub mod process;

pub use deployment::{Container, Deployment, Error};
pub use process::{Process, ProcessConfig};
