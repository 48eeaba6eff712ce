//! A slot is one job's at a time, and a worker is given no more of them than it has. What a worker brings when it registers is not counted from
//! then on: one that was given up is given new tasks before those that it brings have stopped, see `docs/testing.md`.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_graph::{Attempt, JobId, WorkerId};

use super::Invariant;
use crate::event::Event;

/// See the module.
#[derive(Default)]
pub struct SlotGivenOnce {
    offered: BTreeMap<WorkerId, u32>,
    running: BTreeMap<WorkerId, BTreeMap<Attempt, u64>>,
}

impl Invariant for SlotGivenOnce {
    fn name(&self) -> &'static str {
        "no slot is given twice"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Offers { worker, slots } => drop(self.offered.insert(worker.clone(), *slots)),
            Event::TaskBegan { worker, attempt, slot, .. } => {
                let running = self.running.entry(worker.clone()).or_default();
                running.insert(*attempt, *slot);
                let jobs: BTreeSet<JobId> =
                    running.iter().filter(|(_, taken)| *taken == slot).map(|(task, _)| task.job).collect();
                if jobs.len() > 1 {
                    return Err(format!("slot {slot} of {worker} is of several jobs: {jobs:?}"));
                }
                let taken = running.values().collect::<BTreeSet<_>>().len();
                let offered = self.offered.get(worker).copied().unwrap_or(0) as usize;
                if taken > offered {
                    return Err(format!("{worker} has {offered} slots and tasks in {taken}"));
                }
            }
            Event::Registers { worker, running: brought } => {
                if let Some(running) = self.running.get_mut(worker) {
                    running.retain(|attempt, _| !brought.contains(attempt));
                }
            }
            Event::TaskEnded { worker, attempt, .. } => {
                self.running.get_mut(worker).and_then(|running| running.remove(attempt));
            }
            Event::WorkerGone { worker } => drop(self.running.remove(worker)),
            _ => {}
        }
        Ok(())
    }
}
