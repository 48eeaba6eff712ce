//! A checkpoint completes once or is dropped: its number stands for one manifest, none completes that was not stored, and a worker hears of
//! none behind a newer one.

use std::collections::BTreeMap;

use thalweg_graph::{CheckpointId, JobId, WorkerId};

use super::Invariant;
use crate::event::Event;

/// See the module.
#[derive(Default)]
pub struct CheckpointOnce {
    stored: BTreeMap<(JobId, CheckpointId), u64>,
    completed: BTreeMap<(WorkerId, JobId), CheckpointId>,
}

impl Invariant for CheckpointOnce {
    fn name(&self) -> &'static str {
        "a checkpoint completes once or is dropped"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Stored { job, checkpoint, manifest, .. } => {
                let first = *self.stored.entry((*job, *checkpoint)).or_insert(*manifest);
                if first != *manifest {
                    return Err(format!("checkpoint {checkpoint} of {job} was stored as two things"));
                }
            }
            Event::Completed { worker, job, checkpoint } => {
                if !self.stored.contains_key(&(*job, *checkpoint)) {
                    return Err(format!("checkpoint {checkpoint} of {job} is complete and was not stored"));
                }
                let newest = self.completed.entry((worker.clone(), *job)).or_insert(*checkpoint);
                if *checkpoint < *newest {
                    return Err(format!("checkpoint {checkpoint} of {job} completes behind {newest}"));
                }
                *newest = *checkpoint;
            }
            _ => {}
        }
        Ok(())
    }
}
