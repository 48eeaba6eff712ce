//! Every row of a job that has finished is visible once: of no attempt twice, of no two attempts, and none is missing.

use std::collections::BTreeMap;

use thalweg_graph::{Attempt, JobId, SubtaskId};

use super::Invariant;
use crate::{event::Event, rows::Rows};

/// See the module.
#[derive(Default)]
pub struct RowsOnce {
    /// By subtask: where visible rows begin, and what they are. The same commit again is the same entry.
    visible: BTreeMap<(JobId, SubtaskId), BTreeMap<u64, Rows>>,
    finished: Vec<JobId>,
}

impl RowsOnce {
    fn commit(&mut self, rows: Rows) -> Result<(), String> {
        let Attempt { job, subtask, .. } = rows.attempt;
        let visible = self.visible.entry((job, subtask)).or_default();
        if visible.get(&rows.from) == Some(&rows) {
            return Ok(());
        }
        let overlaps = |known: &&Rows| known.from < rows.to && rows.from < known.to;
        if let Some(known) = visible.values().find(overlaps) {
            return Err(format!("rows are visible twice: {known} and {rows}"));
        }
        visible.insert(rows.from, rows);
        Ok(())
    }
}

impl Invariant for RowsOnce {
    fn name(&self) -> &'static str {
        "every row is visible once"
    }

    fn see(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Committed { rows, .. } => rows.iter().try_for_each(|rows| self.commit(*rows)),
            Event::Found { job, status } if status.as_deref() == Some("FINISHED") => {
                self.finished.push(*job);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        for job in &self.finished {
            let subtasks: Vec<_> = self.visible.iter().filter(|((of, _), _)| of == job).collect();
            if subtasks.is_empty() {
                return Err(format!("{job} has finished, and none of its rows is visible"));
            }
            for ((_, subtask), rows) in subtasks {
                let total = rows.values().next().map_or(0, |rows| rows.total);
                let mut upto = 0;
                for rows in rows.values() {
                    if rows.from != upto {
                        return Err(format!(
                            "{job} has finished without rows {upto}..{} of {subtask:?}",
                            rows.from
                        ));
                    }
                    upto = rows.to;
                }
                if upto != total {
                    return Err(format!("{job} has finished without rows {upto}..{total} of {subtask:?}"));
                }
            }
        }
        Ok(())
    }
}
