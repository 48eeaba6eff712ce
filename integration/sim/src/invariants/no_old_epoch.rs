//! No task of an old epoch survives: a worker begins none of an epoch older than one it has seen, no older attempt of a subtask begins
//! behind a newer one, and when all jobs have ended nothing runs.

use std::collections::BTreeMap;

use thalweg_graph::{Attempt, JobEpoch, JobId, SubtaskId, WorkerId};

use super::Invariant;
use crate::event::Event;

/// See the module.
#[derive(Default)]
pub struct NoOldEpoch {
    epochs: BTreeMap<(WorkerId, JobId), JobEpoch>,
    newest: BTreeMap<(WorkerId, JobId, SubtaskId), u32>,
    running: BTreeMap<(WorkerId, Attempt), JobEpoch>,
}

impl Invariant for NoOldEpoch {
    fn name(&self) -> &'static str {
        "no task of an old epoch survives"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::TaskBegan { worker, attempt, epoch, .. } => {
                let newest = self.epochs.entry((worker.clone(), attempt.job)).or_insert(*epoch);
                if *epoch < *newest {
                    return Err(format!("{worker} begins {attempt} of epoch {} after {}", epoch.0, newest.0));
                }
                *newest = *epoch;
                let key = (worker.clone(), attempt.job, attempt.subtask);
                if let Some(newest) = self.newest.insert(key, attempt.number)
                    && newest >= attempt.number
                {
                    return Err(format!("{worker} begins {attempt} after attempt {newest}"));
                }
                self.running.insert((worker.clone(), *attempt), *epoch);
            }
            Event::TaskEnded { worker, attempt, .. } => {
                self.running.remove(&(worker.clone(), *attempt));
            }
            Event::WorkerGone { worker } => self.running.retain(|(of, _), _| of != worker),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        match self.running.keys().next() {
            None => Ok(()),
            Some((worker, attempt)) => Err(format!("{worker} still runs {attempt}, whose job has ended")),
        }
    }
}
