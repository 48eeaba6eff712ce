//! What was acknowledged to a client is known at the end and has ended well.

use std::collections::BTreeMap;

use thalweg_graph::JobId;

use super::Invariant;
use crate::event::Event;

/// See the module.
#[derive(Default)]
pub struct NoSubmissionLost {
    /// Acknowledged jobs, and what the client found of them at the end.
    found: BTreeMap<JobId, Option<String>>,
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
        let mut wrong = self.found.iter().filter(|(_, status)| status.as_deref() != Some("FINISHED"));
        match wrong.next() {
            None => Ok(()),
            Some((job, None)) => Err(format!("{job} was acknowledged and never asked for")),
            Some((job, Some(status))) => Err(format!("{job} was acknowledged and ended as {status}")),
        }
    }
}
