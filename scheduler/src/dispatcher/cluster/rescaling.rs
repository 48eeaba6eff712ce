//! Which jobs can be rescaled, and to what.

use thalweg_graph::{JobGraph, JobId, JobStatus, options};

use super::Cluster;
use crate::{
    dispatcher::Error,
    quorum::{AcceptedScript, Command},
};

impl Cluster {
    /// The script of a stream that can be planned again for another parallelism; `None` where it runs at that one.
    pub fn rescalable(&self, job: JobId, parallelism: u32) -> Result<Option<AcceptedScript>, Error> {
        let master = self.stream(job)?;
        if !matches!(master.status().0, JobStatus::Running | JobStatus::Restarting) {
            return Err(Error::NotRunning(job));
        }
        let cannot = |why: &str| Err(Error::CannotRescale { job, why: why.to_owned() });
        let graph = &master.execution().graph;
        if graph.result_columns.is_some() {
            return cannot("it is a query, whose rows were shown already");
        }
        let interval = graph.options.get(&options::CHECKPOINT_INTERVAL)?;
        if interval.is_zero() {
            return cannot("it takes no checkpoints to go on from: set `execution.checkpointing.interval`");
        }
        let asked = graph.options.get(&options::PARALLELISM_DEFAULT)?;
        if asked == parallelism || (asked == 0 && graph.max_parallelism() == parallelism) {
            return Ok(None);
        }
        let of_job = |accepted: &&AcceptedScript| accepted.jobs.iter().any(|later| later.job == job);
        match self.state.scripts().find(of_job) {
            Some(accepted) => Ok(Some(accepted.clone())),
            None => cannot("it was submitted as a graph, without its script"),
        }
    }

    /// Looks at a job that was planned again; returns what the quorum is to decide.
    pub fn rescaling(&self, mut graph: JobGraph) -> Result<Command, Error> {
        let Some(record) = self.state.job(graph.job) else { return Err(Error::UnknownJob(graph.job)) };
        graph.name.clone_from(&record.name);
        Ok(Command::RescaleJob { graph: self.runnable(graph)? })
    }
}
