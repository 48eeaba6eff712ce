//! Scripts: opened beside the dispatcher, their jobs' ids given out at once, their statements run one after another.

use std::collections::VecDeque;

use thalweg_graph::{Failure, FailureKind, JobGraph, JobId, JobStatus, SqlError, sql_error::SqlErrorCode};

use super::{
    DispatcherHandle, Error,
    driver::Driver,
    input::Input,
    request::{Reply, Request, ScriptAccepted, ScriptJob, ScriptRequest},
};
use crate::{
    clock::Timestamp,
    planner::{Script, StatementOutcome},
    quorum::{AcceptedScript, Command, PlannedLater, Refusal, ScriptRecord, Undecided},
    view::JobEnd,
};

/// Characters of a statement that name its job.
const NAME_CHARS: usize = 80;

/// Parses a script, unless its key was used before.
pub(super) fn open(driver: &mut Driver, request: Box<ScriptRequest>, reply: Reply<ScriptAccepted>) {
    if let Some(answer) = answer_by_key(driver, &request) {
        return drop(reply.send(answer));
    }
    let options = match request.session_options(&driver.options) {
        Ok(options) => options,
        Err(error) => return drop(reply.send(Err(error.into()))),
    };
    let (planner, inbox) = (driver.planner.clone(), driver.inbox.clone());
    let slots = driver.cluster.overview().slots_total;
    tokio::spawn(async move {
        // Parsing a large script takes its time, and a panic of the parser must not take anything with it.
        let text = request.script.clone();
        let opening = tokio::task::spawn_blocking(move || planner.open(&text, &options, slots));
        let opened = opening.await.unwrap_or_else(|error| {
            Err(SqlError::new(SqlErrorCode::Internal, format!("the script could not be parsed: {error}")))
        });
        match (opened, inbox.upgrade()) {
            (Ok(script), Some(inbox)) => {
                drop(inbox.send(Input::ScriptOpened { request, script, reply }).await);
            }
            (Ok(_), None) => drop(reply.send(Err(Error::Stopped))),
            (Err(error), _) => drop(reply.send(Err(error.into()))),
        }
    });
}

fn answer_by_key(driver: &Driver, request: &ScriptRequest) -> Option<Result<ScriptAccepted, Error>> {
    let key = request.idempotency_key.as_ref()?;
    let used = driver.cluster.used_key(key)?;
    Some(match used.fingerprint == fingerprint(request) {
        true => Ok(accepted(&used.jobs)),
        false => Err(Error::KeyReused(key.clone())),
    })
}

/// Tells scripts apart that were sent with the same key; the same in every build.
fn fingerprint(request: &ScriptRequest) -> u64 {
    let ScriptRequest { script, name, configuration, parallelism, idempotency_key: _ } = request;
    let text = serde_json::to_vec(&(script, name, configuration, parallelism));
    xxhash_rust::xxh3::xxh3_64(&text.unwrap_or_default())
}

fn accepted(jobs: &[PlannedLater]) -> ScriptAccepted {
    let jobs: Vec<_> = jobs
        .iter()
        .map(|later| ScriptJob {
            jobid: later.job,
            statement: later.statement.clone(),
            line: later.line,
            is_query: later.is_query,
        })
        .collect();
    ScriptAccepted { jobid: jobs.first().map(|job| job.jobid), jobs }
}

/// Gives an opened script its jobs and starts it.
pub(super) fn start(
    driver: &mut Driver,
    request: ScriptRequest,
    script: Box<dyn Script>,
    reply: Reply<ScriptAccepted>,
    now: Timestamp,
) {
    if let Some(answer) = answer_by_key(driver, &request) {
        return drop(reply.send(answer));
    }
    let statements = script.statements().iter().filter(|statement| statement.makes_job);
    let jobs: Vec<_> = statements
        .map(|statement| PlannedLater {
            job: JobId(rand::random()),
            name: request.name.clone().unwrap_or_else(|| shortened(&statement.text)),
            statement: statement.text.clone(),
            line: statement.line,
            is_query: statement.is_query,
        })
        .collect();
    let key = request.idempotency_key.clone().map(|key| (key, fingerprint(&request)));
    let Some(handle) = handle(driver) else { return drop(reply.send(Err(Error::Stopped))) };
    if jobs.is_empty() {
        tokio::spawn(async move { reply.send(run_without_jobs(script).await) });
        return;
    }
    let options = match request.session_options(&driver.options) {
        Ok(options) => options,
        Err(error) => return drop(reply.send(Err(error.into()))),
    };
    let record = ScriptRecord { text: request.script.clone(), name: request.name.clone(), options };
    let command = Command::AcceptScript { key, script: Box::new(record), jobs: jobs.clone(), at: now };
    let decided = move |outcome| match outcome {
        Ok(()) => {
            let _ = reply.send(Ok(accepted(&jobs)));
            spawn_run(script, jobs, request.name, handle);
        }
        // The same script came at the same time: it has its answer.
        Err(Undecided::Refused(Refusal::KeyUsed(_))) => {
            let again = Input::Request(Request::Script(Box::new(request), reply));
            tokio::spawn(async move { drop(handle.inputs.send(again).await) });
        }
        Err(error) => drop(reply.send(Err(error.into()))),
    };
    driver.propose(command, Box::new(decided), now);
}

fn handle(driver: &Driver) -> Option<DispatcherHandle> {
    let inputs = driver.inbox.upgrade()?;
    Some(DispatcherHandle { inputs, results: driver.results.clone() })
}

fn spawn_run(
    script: Box<dyn Script>,
    jobs: Vec<PlannedLater>,
    name: Option<String>,
    handle: DispatcherHandle,
) {
    let ids: Vec<_> = jobs.iter().map(|later| later.job).collect();
    tokio::spawn(async move {
        let running = tokio::spawn(run(script, jobs.into(), name, handle.clone()));
        match running.await {
            Ok(Ok(())) => {}
            Ok(Err(Abandoned)) => tracing::info!("a script is left to the JobManager that leads next"),
            Err(error) => {
                let message = format!("the script stopped: {error}");
                fail_all(&handle, ids, Failure::new(FailureKind::Internal, message)).await;
            }
        }
    });
}

/// Goes on with a script that another leader has accepted.
pub(super) fn resume(driver: &Driver, accepted: AcceptedScript) {
    let Some(handle) = handle(driver) else { return };
    let planner = driver.planner.clone();
    let slots = driver.cluster.overview().slots_total;
    tokio::spawn(async move {
        let AcceptedScript { script: record, jobs } = accepted;
        let (text, options) = (record.text, record.options);
        let opening = tokio::task::spawn_blocking(move || planner.open(&text, &options, slots));
        let opened = opening.await.unwrap_or_else(|error| {
            Err(SqlError::new(SqlErrorCode::Internal, format!("the script could not be parsed: {error}")))
        });
        match opened {
            Ok(script) => spawn_run(script, jobs, record.name, handle),
            Err(error) => {
                let ids = jobs.into_iter().map(|later| later.job);
                fail_all(&handle, ids, refusal(&error)).await;
            }
        }
    });
}

fn shortened(statement: &str) -> String {
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// A script that only changes its own session: it can but succeed or fail.
async fn run_without_jobs(mut script: Box<dyn Script>) -> Result<ScriptAccepted, Error> {
    for index in 0..script.statements().len() {
        script.run(index, JobId(0)).await?;
    }
    Ok(ScriptAccepted { jobid: None, jobs: Vec::new() })
}

/// This JobManager leads no more, or stops: the next leader goes on with the script.
struct Abandoned;

async fn run(
    mut script: Box<dyn Script>,
    mut jobs: VecDeque<PlannedLater>,
    name: Option<String>,
    handle: DispatcherHandle,
) -> Result<(), Abandoned> {
    for index in 0..script.statements().len() {
        if jobs.is_empty() {
            return Ok(());
        }
        let makes_job = script.statements()[index].makes_job;
        let line = script.statements()[index].line;
        let job = makes_job.then(|| jobs[0].job);
        // A leader before this one may have come so far. What the statement leaves in the session is wanted all the same.
        let planned = match job {
            Some(job) => handle.is_planned(job).await,
            None => false,
        };
        let outcome = script.run(index, job.unwrap_or(JobId(0))).await;
        let failure = match (outcome, job) {
            (outcome, Some(job)) if planned => {
                if let Err(error) = outcome {
                    tracing::warn!(%job, %error, "a statement whose job was planned before cannot be planned again");
                }
                end_of(handle.wait(job).await)?
            }
            (Err(error), _) => Some(refusal(&error)),
            (Ok(StatementOutcome::Job(graph)), Some(job)) => run_job(&handle, job, *graph, &name).await?,
            (Ok(StatementOutcome::Done { .. }), Some(job)) => {
                end(&handle, job, JobEnd { status: JobStatus::Finished, failure: None }).await;
                None
            }
            (Ok(_), None) => None,
        };
        if let Some(failure) = failure {
            fail_rest(&handle, job, jobs, line, failure).await;
            return Ok(());
        }
        if makes_job {
            jobs.pop_front();
        }
    }
    Ok(())
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
