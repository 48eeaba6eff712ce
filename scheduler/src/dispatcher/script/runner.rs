//! Runs an accepted script: its statements one after another, each job to its end before the next statement.

use std::{collections::VecDeque, sync::Arc};

use thalweg_graph::{
    Failure, FailureKind, JobGraph, JobId, JobStatus, Options, SqlError, sql_error::SqlErrorCode,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::{DispatcherHandle, Error, input::Input};
use crate::{
    beside::beside,
    planner::{Planner, Script, StatementOutcome},
    quorum::{AcceptedScript, PlannedLater, ScriptRecord},
    view::JobEnd,
};

/// What scripts are run with.
pub(in crate::dispatcher) struct Runner {
    /// The way back.
    pub dispatcher: DispatcherHandle,
    /// Knows SQL.
    pub planner: Arc<dyn Planner>,
    /// Statements that are planned at once.
    pub planning: Arc<Semaphore>,
    /// Slots of the cluster.
    pub slots: u32,
}

/// Parses a script beside the dispatcher: a large one takes its time, and a panic of the parser must not take anything with it.
pub(in crate::dispatcher) async fn open(
    planner: Arc<dyn Planner>,
    text: String,
    options: Options,
    slots: u32,
) -> Result<Box<dyn Script>, SqlError> {
    let opening = beside(move || planner.open(&text, &options, slots));
    opening.await.unwrap_or_else(|error| {
        Err(SqlError::new(SqlErrorCode::Internal, format!("the script could not be parsed: {error}")))
    })
}

/// This JobManager leads no more, or stops: the next leader goes on with the script.
struct Abandoned;

impl Runner {
    /// Runs a script's statements, in a task of its own. Only so many are planned at once; one whose turn does not come at once is opened
    /// again then, so that what waits is text.
    pub(super) fn start(self, accepted: AcceptedScript, opened: Option<Box<dyn Script>>) {
        let turn = self.planning.clone().try_acquire_owned().ok();
        let opened = opened.filter(|_| turn.is_some());
        let ids: Vec<_> = accepted.jobs.iter().map(|later| later.job).collect();
        let dispatcher = self.dispatcher.clone();
        tokio::spawn(async move {
            match tokio::spawn(self.run(accepted, opened, turn)).await {
                Ok(Ok(())) => {}
                Ok(Err(Abandoned)) => tracing::info!("a script is left to the JobManager that leads next"),
                Err(error) => {
                    let message = format!("the script stopped: {error}");
                    fail_all(&dispatcher, ids, Failure::new(FailureKind::Internal, message)).await;
                }
            }
        });
    }

    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.planning.clone().acquire_owned().await.ok()
    }

    async fn run(
        self,
        accepted: AcceptedScript,
        opened: Option<Box<dyn Script>>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Abandoned> {
        let AcceptedScript { script: record, jobs } = accepted;
        let mut turn = match turn {
            Some(turn) => Some(turn),
            None => self.turn().await,
        };
        let ScriptRecord { text, name, options } = *record;
        let opened = match opened {
            Some(script) => Ok(script),
            None => open(self.planner.clone(), text, options, self.slots).await,
        };
        let script = match opened {
            Ok(script) => script,
            Err(error) => {
                let ids = jobs.into_iter().map(|later| later.job);
                fail_all(&self.dispatcher, ids, refusal(&error)).await;
                return Ok(());
            }
        };
        let count = script.statements().len();
        let (mut script, mut jobs) = (Some(script), VecDeque::from(jobs));
        for index in 0..count {
            let Some(opened) = &mut script else { return Ok(()) };
            if jobs.is_empty() {
                return Ok(());
            }
            let (makes_job, line) = (opened.statements()[index].makes_job, opened.statements()[index].line);
            let job = makes_job.then(|| jobs[0].job);
            // A leader before this one may have come so far. What the statement leaves in the session is wanted all the same.
            let planned = match job {
                Some(job) => self.dispatcher.is_planned(job).await,
                None => false,
            };
            let held = match turn.take() {
                Some(turn) => Some(turn),
                None => self.turn().await,
            };
            let outcome = opened.run(index, job.unwrap_or(JobId(0))).await;
            drop(held);
            if makes_job && jobs.len() == 1 {
                // A session is not kept for as long as its last job runs.
                script = None;
            }
            let failure = self.follow(outcome, job, planned, &name).await?;
            if let Some(failure) = failure {
                fail_rest(&self.dispatcher, job, jobs, line, failure).await;
                return Ok(());
            }
            if makes_job {
                jobs.pop_front();
            }
        }
        Ok(())
    }

    /// Waits for what a statement has begun; returns why the script does not go on.
    async fn follow(
        &self,
        outcome: Result<StatementOutcome, SqlError>,
        job: Option<JobId>,
        planned: bool,
        name: &Option<String>,
    ) -> Result<Option<Failure>, Abandoned> {
        let dispatcher = &self.dispatcher;
        match (outcome, job) {
            (outcome, Some(job)) if planned => {
                if let Err(error) = outcome {
                    tracing::warn!(%job, %error, "a statement whose job was planned before cannot be planned again");
                }
                end_of(dispatcher.wait(job).await)
            }
            (Err(error), _) => Ok(Some(refusal(&error))),
            (Ok(StatementOutcome::Job(graph)), Some(job)) => run_job(dispatcher, job, *graph, name).await,
            (Ok(StatementOutcome::Done { .. }), Some(job)) => {
                end(dispatcher, job, JobEnd { status: JobStatus::Finished, failure: None }).await;
                Ok(None)
            }
            (Ok(_), None) => Ok(None),
        }
    }
}

/// Submits a planned job and waits for its end; returns why the script does not go on.
async fn run_job(
    handle: &DispatcherHandle,
    job: JobId,
    mut graph: JobGraph,
    name: &Option<String>,
) -> Result<Option<Failure>, Abandoned> {
    graph.name = name.clone().unwrap_or(graph.name);
    let ended = match handle.submit(graph).await {
        // It exists where this member leads again, and what it began before was not noticed yet.
        Ok(_) | Err(Error::JobExists(_)) => handle.wait(job).await,
        // Cancelled while it was planned: it has its end.
        Err(Error::JobCanceled(_)) => Ok(JobEnd { status: JobStatus::Canceled, failure: None }),
        Err(error) => Err(error),
    };
    end_of(ended)
}

/// Why a script does not go on behind a job that ended so.
fn end_of(ended: Result<JobEnd, Error>) -> Result<Option<Failure>, Abandoned> {
    Ok(match ended {
        Ok(JobEnd { status: JobStatus::Finished, .. }) => None,
        Err(Error::Stopped | Error::NotLeader { .. }) => return Err(Abandoned),
        Ok(JobEnd { failure: Some(failure), .. }) => Some(failure),
        Ok(JobEnd { status, .. }) => {
            Some(Failure::new(FailureKind::Deterministic, format!("it ended as {status}")))
        }
        Err(error) => Some(Failure::new(FailureKind::PlanRejected, error.to_string())),
    })
}

/// A statement failed: its own job with that, those after it because of it.
async fn fail_rest(
    handle: &DispatcherHandle,
    job: Option<JobId>,
    mut jobs: VecDeque<PlannedLater>,
    line: u64,
    failure: Failure,
) {
    if let Some(job) = job {
        jobs.pop_front();
        fail_all(handle, [job], failure.clone()).await;
    }
    let message = format!("not run: the statement on line {line} failed: {}", failure.message);
    let failure = Failure { message, attempt: None, worker: None, ..failure };
    fail_all(handle, jobs.into_iter().map(|later| later.job), failure).await;
}

async fn fail_all(handle: &DispatcherHandle, jobs: impl IntoIterator<Item = JobId>, failure: Failure) {
    for job in jobs {
        let failure = Some(failure.clone());
        end(handle, job, JobEnd { status: JobStatus::Failed, failure }).await;
    }
}

async fn end(handle: &DispatcherHandle, job: JobId, end: JobEnd) {
    // A dispatcher that is gone has no jobs.
    let _ = handle.inputs.send(Input::EndUnplanned(job, end)).await;
}

fn refusal(error: &SqlError) -> Failure {
    let kind = match error.code {
        SqlErrorCode::Io => FailureKind::Io,
        SqlErrorCode::Internal => FailureKind::Internal,
        _ => FailureKind::PlanRejected,
    };
    Failure::new(kind, error.to_string())
}
