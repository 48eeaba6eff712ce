//! A running stream gets another parallelism: its statement is planned again beside the dispatcher, and the quorum decides that the new
//! graph takes the place of the one that runs. What that means for its tasks stands in `job_master/rescale.rs`.

use std::sync::Arc;

use thalweg_graph::{JobGraph, JobId, SqlError, sql_error::SqlErrorCode};
use tokio::sync::Semaphore;

use super::{Error, driver::Driver, input::Input, request::Reply, script::runner};
use crate::{
    clock::Timestamp,
    planner::{Planner, StatementOutcome},
    quorum::{AcceptedScript, Undecided},
};

/// Plans a stream again, unless it has this parallelism.
pub(super) fn start(driver: &Driver, job: JobId, parallelism: u32, reply: Reply<()>) {
    let accepted = match driver.cluster.rescalable(job, parallelism) {
        Ok(Some(accepted)) => accepted,
        Ok(None) => return drop(reply.send(Ok(()))),
        Err(error) => return drop(reply.send(Err(error))),
    };
    let again = Again {
        planner: driver.planner.clone(),
        planning: driver.planning.clone(),
        slots: driver.cluster.overview().slots_total,
        job,
        parallelism,
    };
    let inbox = driver.inbox.clone();
    tokio::spawn(async move {
        let planned = tokio::spawn(again.plan(accepted)).await;
        let planned = planned.unwrap_or_else(|error| {
            Err(SqlError::new(SqlErrorCode::Internal, format!("the job could not be planned: {error}")))
        });
        match (planned, inbox.upgrade()) {
            (Ok(graph), Some(inbox)) => {
                let graph = Box::new(graph);
                drop(inbox.send(Input::PlannedAgain { graph, reply }).await);
            }
            (Ok(_), None) => drop(reply.send(Err(Error::Stopped))),
            (Err(error), _) => drop(reply.send(Err(error.into()))),
        }
    });
}

/// Has the quorum decide that a job goes on with the graph that was planned.
pub(super) fn decide(driver: &mut Driver, graph: JobGraph, reply: Reply<()>, now: Timestamp) {
    match driver.cluster.rescaling(graph) {
        Ok(command) => {
            let decided = |outcome: Result<(), Undecided>| drop(reply.send(outcome.map_err(Error::from)));
            driver.propose(command, Box::new(decided), now);
        }
        Err(error) => drop(reply.send(Err(error))),
    }
}

/// What a job is planned again with.
struct Again {
    planner: Arc<dyn Planner>,
    planning: Arc<Semaphore>,
    slots: u32,
    job: JobId,
    parallelism: u32,
}

impl Again {
    /// Runs the job's script as far as its statement, in a session of its own: what the statements before have left there is wanted.
    async fn plan(self, accepted: AcceptedScript) -> Result<JobGraph, SqlError> {
        // It is never closed.
        let _turn = self.planning.acquire_owned().await;
        let record = *accepted.script;
        let mut script = runner::open(self.planner, record.text, record.options, self.slots).await?;
        let mut jobs = accepted.jobs.iter().map(|later| later.job);
        for index in 0..script.statements().len() {
            let job = if script.statements()[index].makes_job { jobs.next() } else { None };
            if job == Some(self.job) {
                script.set_parallelism(self.parallelism);
            }
            match script.run(index, job.unwrap_or(JobId(0))).await? {
                StatementOutcome::Job(graph) if job == Some(self.job) => return Ok(*graph),
                _ => {}
            }
        }
        let gone = format!("the script of job `{}` does not make it any more", self.job);
        Err(SqlError::new(SqlErrorCode::Internal, gone))
    }
}
