//! A stream goes on at another parallelism.
//!
//! Its statement was planned again; the quorum has put the new graph in the place of the old one and given its attempts a number that
//! none had before. All tasks of the old graph are told to stop, as before a restart, and those of the new one go on from the newest
//! checkpoint. What has to be known of tasks of the old graph that have not answered yet is in their attempts and slots.

use std::sync::Arc;

use thalweg_graph::{JobGraph, JobStatus};

use super::{Action, AlignmentGroups, ExecutionGraph, JobMaster, Regions, Stage, region::Phase};
use crate::clock::Timestamp;

impl JobMaster {
    /// Goes on with another graph of the job.
    pub(super) fn rescaled(&mut self, graph: Arc<JobGraph>, generation: u32, now: Timestamp) {
        self.generation = self.generation.max(generation);
        self.generation_noted = self.generation_noted.max(generation);
        if self.stage != Stage::Executing {
            // It is ending: what has run is what counts.
            return;
        }
        self.interrupt_checkpoint("the job is rescaled", now);
        for region in self.regions.ids() {
            if self.regions[region].phase == Phase::Requested {
                self.actions.push(Action::CancelRequest(region));
            }
        }
        self.delayed.clear();
        for subtask in self.execution.subtask_ids().collect::<Vec<_>>() {
            self.stop_attempt(subtask);
        }
        self.replace_graph(graph);
        if self.status == JobStatus::Created {
            // Where something has to be made visible first, the regions are asked for behind that.
            if self.checkpoints.as_ref().is_none_or(|checkpoints| checkpoints.restored.is_none()) {
                self.request_ready();
            }
            return;
        }
        self.count_restore(now);
        for region in self.regions.ids() {
            self.regions[region].phase = Phase::Delayed(now);
            self.delayed.insert((now, region));
        }
        self.set_status(JobStatus::Restarting, now);
        self.restart_delayed(now);
    }

    /// Puts a graph of which nothing is deployed in the place of the one before.
    pub(super) fn replace_graph(&mut self, graph: Arc<JobGraph>) {
        self.regions = Regions::of(&graph);
        self.options = Arc::new(graph.options.clone());
        self.execution = ExecutionGraph::new(graph);
        for subtask in self.execution.subtask_ids().collect::<Vec<_>>() {
            self.execution.subtask_mut(subtask).attempt = self.generation;
        }
        self.alignment = AlignmentGroups::default();
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.last.clear();
        }
    }
}
