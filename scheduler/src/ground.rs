//! What a JobManager stands on: a disk, the wall clock. A simulation puts others of them below it.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    disk::{Disk, Files},
};

/// See the module.
#[derive(Debug, Clone)]
pub struct Ground {
    /// What the quorum's log is kept on.
    pub disk: Arc<dyn Disk>,
    /// Reads the wall clock, once at the start.
    pub wall_clock: fn() -> Timestamp,
}

impl Default for Ground {
    /// The operating system's.
    fn default() -> Self {
        Self { disk: Arc::new(Files), wall_clock: Timestamp::wall }
    }
}
