//! Every row of a job that has finished is visible once: of no attempt twice, of no two attempts, and none is missing; of one that was
//! stopped, none that comes before another which is visible.

use std::collections::{BTreeMap, BTreeSet};

use thalweg_graph::{Attempt, JobId, VertexId};

use super::Invariant;
use crate::{
    event::{Event, Meddling},
    rows::Rows,
};

/// See the module.
#[derive(Default)]
pub struct RowsOnce {
    /// By shard: where visible rows begin, and what they are. The same commit again is the same entry.
    visible: BTreeMap<(JobId, VertexId, u32), BTreeMap<u64, Rows>>,
    stopped: BTreeSet<JobId>,
    finished: Vec<JobId>,
}

impl RowsOnce {
    fn commit(&mut self, rows: Rows) -> Result<(), String> {
        let Attempt { job, subtask, .. } = rows.attempt;
        let visible = self.visible.entry((job, subtask.vertex, rows.shard)).or_default();
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
            Event::Meddled { job, meddling: Meddling::Stop } => {
                self.stopped.insert(*job);
                Ok(())
            }
            Event::Found { job, status } if status.as_deref() == Some("FINISHED") => {
                self.finished.push(*job);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), String> {
        for job in &self.finished {
            let is_whole = !self.stopped.contains(job);
            let shards: Vec<_> = self.visible.iter().filter(|((of, _, _), _)| of == job).collect();
            let expected = shards.first().and_then(|(_, rows)| Some(rows.values().next()?.shards as usize));
            if is_whole && expected != Some(shards.len()) {
                return Err(format!(
                    "{job} has finished, and of {} of {expected:?} shards rows are visible",
                    shards.len()
                ));
            }
            for ((_, _, shard), rows) in shards {
                let total = rows.values().next().map_or(0, |rows| rows.total);
                let mut upto = 0;
                for rows in rows.values() {
                    if rows.from != upto {
                        let from = rows.from;
                        return Err(format!(
                            "{job} has finished without rows {upto}..{from} of shard {shard}"
                        ));
                    }
                    upto = rows.to;
                }
                if is_whole && upto != total {
                    return Err(format!("{job} has finished without rows {upto}..{total} of shard {shard}"));
                }
            }
        }
        Ok(())
    }
}
