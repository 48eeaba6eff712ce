//! A submission runs once: the same key always means the same jobs.

use std::collections::BTreeMap;

use thalweg_graph::JobId;

use super::Invariant;
use crate::event::Event;

/// See the module.
#[derive(Default)]
pub struct RunsOnce {
    by_key: BTreeMap<String, Vec<JobId>>,
    by_job: BTreeMap<JobId, String>,
}

impl Invariant for RunsOnce {
    fn name(&self) -> &'static str {
        "no job runs twice"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        let Event::Accepted { key, jobs } = event else { return Ok(()) };
        let known = self.by_key.entry(key.clone()).or_insert_with(|| jobs.clone());
        if known != jobs {
            return Err(format!("`{key}` was accepted as {known:?} and as {jobs:?}"));
        }
        for job in jobs {
            let first = self.by_job.entry(*job).or_insert_with(|| key.clone());
            if first != key {
                return Err(format!("{job} is of `{first}` and of `{key}`"));
            }
        }
        Ok(())
    }
}
