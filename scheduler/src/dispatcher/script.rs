//! Scripts: opened beside the dispatcher, their jobs' ids given out at once, their statements run one after another (`runner.rs`).

pub(super) mod runner;

use thalweg_graph::JobId;

use self::runner::Runner;

use super::{
    DispatcherHandle, Error,
    driver::Driver,
    input::Input,
    request::{Reply, Request, ScriptAccepted, ScriptJob, ScriptRequest},
};
use crate::{
    clock::Timestamp,
    planner::Script,
    quorum::{AcceptedScript, Command, PlannedLater, Refusal, ScriptRecord, Undecided},
};

/// Characters of a statement that name its job.
const NAME_CHARS: usize = 80;

/// Parses a script, unless its key was used before.
pub(super) fn open(driver: &mut Driver, request: Box<ScriptRequest>, reply: Reply<ScriptAccepted>) {
    if let Some(answer) = answer_by_key(driver, &request) {
        return drop(reply.send(answer));
    }
    if driver.cluster.open_jobs() >= driver.open_jobs_max {
        return drop(reply.send(Err(Error::TooManyJobs(driver.open_jobs_max))));
    }
    let options = match request.session_options(&driver.options) {
        Ok(options) => options,
        Err(error) => return drop(reply.send(Err(error.into()))),
    };
    if let Err(error) = driver.cluster.check_queue(&options) {
        return drop(reply.send(Err(error)));
    }
    let (planner, inbox) = (driver.planner.clone(), driver.inbox.clone());
    let slots = driver.cluster.overview().slots_total;
    tokio::spawn(async move {
        // Parsing a large script takes its time, and a panic of the parser must not take anything with it.
        let opened = runner::open(planner, request.script.clone(), options, slots).await;
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
    let Some(runner) = runner(driver) else { return drop(reply.send(Err(Error::Stopped))) };
    if jobs.is_empty() {
        tokio::spawn(async move { reply.send(run_without_jobs(script).await) });
        return;
    }
    let options = match request.session_options(&driver.options) {
        Ok(options) => options,
        Err(error) => return drop(reply.send(Err(error.into()))),
    };
    let record = ScriptRecord { text: request.script.clone(), name: request.name.clone(), options };
    let record = Box::new(record);
    let command = Command::AcceptScript { key, script: record.clone(), jobs: jobs.clone(), at: now };
    let decided = move |outcome| match outcome {
        Ok(()) => {
            let _ = reply.send(Ok(accepted(&jobs)));
            runner.start(AcceptedScript { script: record, jobs }, Some(script));
        }
        // The same script came at the same time: it has its answer.
        Err(Undecided::Refused(Refusal::KeyUsed(_))) => {
            let again = Input::Request(Request::Script(Box::new(request), reply));
            tokio::spawn(async move { drop(runner.dispatcher.inputs.send(again).await) });
        }
        Err(error) => drop(reply.send(Err(error.into()))),
    };
    driver.propose(command, Box::new(decided), now);
}

fn runner(driver: &Driver) -> Option<Runner> {
    let inputs = driver.inbox.upgrade()?;
    Some(Runner {
        dispatcher: DispatcherHandle {
            inputs,
            results: driver.results.clone(),
            history: driver.history.clone(),
        },
        planner: driver.planner.clone(),
        planning: driver.planning.clone(),
        slots: driver.cluster.overview().slots_total,
    })
}

/// Goes on with a script that another leader has accepted.
pub(super) fn resume(driver: &Driver, accepted: AcceptedScript) {
    if let Some(runner) = runner(driver) {
        runner.start(accepted, None);
    }
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
