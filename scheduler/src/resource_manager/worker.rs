//! One registered worker as the resource manager keeps it.

use std::{collections::BTreeMap, sync::Arc};

use thalweg_graph::{JobId, WorkerId};
use thalweg_rpc::Registration;

use super::AllocationId;
use crate::clock::Timestamp;

/// Where a slot is: shared by all that runs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The worker.
    pub worker: WorkerId,
    /// Its data port, `host:port`.
    pub data_address: String,
}

/// A registered worker.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Where it is reached.
    pub location: Arc<Location>,
    /// Its host.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Its slots.
    pub slots: u32,
    /// Its memory budget.
    pub memory_bytes: u64,
    /// What it uses of it, by its newest heartbeat.
    pub memory_used_bytes: u64,
    /// When it was heard last.
    pub last_heard: Timestamp,
    /// When it counts as lost because its connection broke.
    pub lost_at: Option<Timestamp>,
    /// Its slots that jobs have.
    pub allocations: BTreeMap<AllocationId, JobId>,
}

impl Worker {
    pub(super) fn new(registration: &Registration, now: Timestamp) -> Self {
        Self {
            location: Arc::new(Location {
                worker: registration.worker.clone(),
                data_address: registration.data_address.clone(),
            }),
            host: registration.host.clone(),
            pid: registration.pid,
            slots: registration.slots,
            memory_bytes: registration.memory_bytes,
            memory_used_bytes: 0,
            last_heard: now,
            lost_at: None,
            allocations: BTreeMap::new(),
        }
    }

    /// The same worker over a new connection; its data port may have moved.
    pub(super) fn came_back(&mut self, registration: &Registration, now: Timestamp) {
        self.last_heard = now;
        self.lost_at = None;
        if self.location.data_address != registration.data_address {
            let data_address = registration.data_address.clone();
            self.location = Arc::new(Location { worker: registration.worker.clone(), data_address });
        }
    }

    /// Slots that no job has.
    pub fn free(&self) -> u32 {
        self.slots - self.allocations.len() as u32
    }
}
