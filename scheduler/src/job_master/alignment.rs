//! Sources that keep pace: the slowest of a group says how far the others may go.

use std::collections::BTreeMap;

use thalweg_graph::{Attempt, SubtaskId};

use super::{Action, JobMaster};

/// How far the sources of each group have come, in milliseconds.
#[derive(Debug, Default)]
pub struct AlignmentGroups(BTreeMap<String, BTreeMap<SubtaskId, i64>>);

impl AlignmentGroups {
    /// A source has come so far; nobody waits for one that does not say. Returns how far the slowest of the group is.
    fn note(&mut self, group: &str, source: SubtaskId, watermark_ms: Option<i64>) -> Option<i64> {
        let group = self.0.entry(group.to_owned()).or_default();
        match watermark_ms {
            Some(watermark) => group.insert(source, watermark),
            None => group.remove(&source),
        };
        group.values().min().copied()
    }

    /// A source does not run any more.
    pub fn forget(&mut self, source: SubtaskId) {
        for group in self.0.values_mut() {
            group.remove(&source);
        }
    }
}

impl JobMaster {
    /// A source says how far it has come, and hears how far it may go.
    pub(super) fn align_source(
        &mut self,
        attempt: Attempt,
        group: &str,
        watermark_ms: Option<i64>,
        max_drift_ms: i64,
    ) {
        let subtask = self.execution.current(attempt).filter(|subtask| subtask.is_live());
        let Some(worker) = subtask.and_then(|subtask| Some(subtask.location()?.worker.clone())) else {
            return;
        };
        if let Some(slowest) = self.alignment.note(group, attempt.subtask, watermark_ms) {
            let allowed_ms = slowest.saturating_add(max_drift_ms);
            self.actions.push(Action::AlignSource { worker, attempt, allowed_ms });
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_graph::VertexId;

    use super::*;

    #[test]
    fn the_slowest_that_says_something_counts_until_it_is_gone() {
        let source = |index| SubtaskId { vertex: VertexId(0), index };
        let mut groups = AlignmentGroups::default();
        assert_eq!(groups.note("a", source(0), Some(50)), Some(50));
        assert_eq!(groups.note("a", source(1), Some(20)), Some(20));
        assert_eq!(groups.note("b", source(2), Some(1)), Some(1), "another group");
        assert_eq!(groups.note("a", source(1), None), Some(50), "it is idle");
        assert_eq!(groups.note("a", source(1), Some(60)), Some(50));
        groups.forget(source(0));
        assert_eq!(groups.note("a", source(1), Some(70)), Some(70));
    }
}
