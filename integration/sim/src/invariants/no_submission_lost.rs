//! What was acknowledged to a client is known at the end and has ended well, or as the client has asked.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_graph::JobId;

use super::Invariant;
use crate::event::{Event, Meddling};

/// See the module.
#[derive(Default)]
pub struct NoSubmissionLost {
    /// Acknowledged jobs, and what the client found of them at the end.
    found: BTreeMap<JobId, Option<String>>,
    /// The jobs of each submission.
    together: Vec<Vec<JobId>>,
    /// Those that the client has asked to cancel, and those behind them, which then do not run.
    may_fail: BTreeSet<JobId>,
}

impl Invariant for NoSubmissionLost {
    fn name(&self) -> &'static str {
        "no acknowledged submission is lost"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Accepted { jobs, .. } => {
                for job in jobs {
                    self.found.entry(*job).or_default();
                }
                self.together.push(jobs.clone());
            }
            Event::Meddled { job, meddling: Meddling::Cancel } => {
                let with = self.together.iter().find(|jobs| jobs.contains(job));
                self.may_fail.extend(with.into_iter().flatten());
            }
            Event::Found { job, status: None } => {
                return Err(format!("{job} was acknowledged and is unknown"));
            }
            Event::Found { job, status } => drop(self.found.insert(*job, status.clone())),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let may_fail = |job: &JobId| self.may_fail.contains(job);
        let is_well = |job: &JobId, status: &Option<String>| match status.as_deref() {
            Some("FINISHED") => true,
            Some("CANCELED" | "FAILED") => may_fail(job),
            _ => false,
        };
        let mut wrong = self.found.iter().filter(|(job, status)| !is_well(job, status));
        match wrong.next() {
            None => Ok(()),
            Some((job, None)) => Err(format!("{job} was acknowledged and never asked for")),
            Some((job, Some(status))) => Err(format!("{job} was acknowledged and ended as {status}")),
        }
    }
}
