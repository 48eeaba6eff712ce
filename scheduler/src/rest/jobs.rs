//! Jobs: lists, one job from several sides, its end.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use thalweg_graph::{JobStatus, TaskMetrics, TaskState, options::Value as _};
use tokio_stream::wrappers::WatchStream;

use super::{Api, error::ApiError, ids::JobPath, job_manager::shown, parameters};
use crate::{
    clock::Timestamp,
    view::{JobDetails, JobSummary, TaskCounts, VertexDetails},
};

/// Longest time that a call waits for a job's end.
const WAIT_MAX: Duration = Duration::from_secs(60);

pub async fn list(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let jobs = api.dispatcher.jobs().await?;
    let jobs: Vec<Value> = jobs.iter().map(|job| json!({ "id": job.job, "status": job.status })).collect();
    Ok(Json(json!({ "jobs": jobs })))
}

pub async fn overview(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let (jobs, now) = (api.dispatcher.jobs().await?, Timestamp::wall());
    let jobs: Vec<Value> = jobs.iter().map(|job| job_line(job, now)).collect();
    Ok(Json(json!({ "jobs": jobs })))
}

fn job_line(job: &JobSummary, now: Timestamp) -> Value {
    let mut tasks = Map::from_iter([("total".to_owned(), job.tasks.total().into())]);
    for state in TaskState::ALL {
        tasks.insert(state.to_string().to_lowercase(), job.tasks[state].into());
    }
    json!({
        "jid": job.job,
        "name": job.name,
        "start-time": job.submitted.0,
        "end-time": end_time(job.ended),
        "duration": job.ended.unwrap_or(now).since_ms(job.submitted),
        "state": job.status,
        "last-modification": job.changed.0,
        "tasks": tasks,
        // A job is planned whole before it is one.
        "pending-operators": 0,
    })
}

/// Flink's way to say that something has not ended.
pub(super) fn end_time(ended: Option<Timestamp>) -> i64 {
    ended.map_or(-1, |at| at.0 as i64)
}

pub async fn details(State(api): State<Api>, JobPath(job): JobPath) -> Result<Json<Value>, ApiError> {
    let (job, now) = (api.dispatcher.job(job).await?, Timestamp::wall());
    let JobDetails { summary, .. } = &*job;
    // Flink counts vertices here, and subtasks in the vertices' lines.
    let mut states = TaskCounts::default();
    job.vertices.iter().for_each(|vertex| states.add(vertex.state()));
    let timestamps: Map<String, Value> = JobStatus::ALL
        .iter()
        .map(|status| (status.to_string(), job.status_times.get(status).map_or(0, |at| at.0).into()))
        .collect();
    Ok(Json(json!({
        "jid": summary.job,
        "name": summary.name,
        "isStoppable": false,
        "state": summary.status,
        "job-type": job.mode,
        "start-time": summary.submitted.0,
        "end-time": end_time(summary.ended),
        "duration": summary.ended.unwrap_or(now).since_ms(summary.submitted),
        "maxParallelism": job.parallelism,
        "now": now.0,
        "timestamps": timestamps,
        "vertices": job.vertices.iter().map(|vertex| vertex_line(vertex, now)).collect::<Vec<_>>(),
        "status-counts": counts(&states),
        "plan": *job.plan,
        "pending-operators": 0,
        "statement": job.statement,
        "waiting": job.waiting,
        "failure": job.failure,
        "restarts": job.restarts,
    })))
}

fn vertex_line(vertex: &VertexDetails, now: Timestamp) -> Value {
    json!({
        "id": vertex.id.to_string(),
        "name": vertex.name,
        "maxParallelism": vertex.parallelism,
        "parallelism": vertex.parallelism,
        "status": vertex.state(),
        "start-time": end_time(vertex.started),
        "end-time": end_time(vertex.ended),
        "duration": duration(vertex.started, vertex.ended, now),
        "tasks": counts(&vertex.tasks),
        "metrics": metrics(&vertex.metrics, vertex.ended.is_some()),
    })
}

/// Milliseconds from start to end or now; -1 for what has not started.
pub(super) fn duration(started: Option<Timestamp>, ended: Option<Timestamp>, now: Timestamp) -> i64 {
    started.map_or(-1, |started| ended.unwrap_or(now).since_ms(started) as i64)
}

pub(super) fn counts(tasks: &TaskCounts) -> Map<String, Value> {
    TaskState::ALL.iter().map(|state| (state.to_string(), tasks[*state].into())).collect()
}

pub(super) fn metrics(metrics: &TaskMetrics, complete: bool) -> Value {
    json!({
        "read-bytes": metrics.bytes_in,
        "read-bytes-complete": complete,
        "write-bytes": metrics.bytes_out,
        "write-bytes-complete": complete,
        "read-records": metrics.records_in,
        "read-records-complete": complete,
        "skipped-records": metrics.records_skipped,
        "write-records": metrics.records_out,
        "write-records-complete": complete,
        "accumulated-backpressured-time": metrics.backpressured_ms,
        "accumulated-busy-time": metrics.busy_ms,
        "accumulated-idle-time": metrics.idle_ms,
        "spilled-bytes": metrics.bytes_spilled,
    })
}

pub async fn status(State(api): State<Api>, JobPath(job): JobPath) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "status": api.dispatcher.job(job).await?.summary.status })))
}

pub async fn plan(State(api): State<Api>, JobPath(job): JobPath) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "plan": *api.dispatcher.job(job).await?.plan })))
}

pub async fn config(State(api): State<Api>, JobPath(job): JobPath) -> Result<Json<Value>, ApiError> {
    let job = api.dispatcher.job(job).await?;
    let strategy = job.options.get(&thalweg_graph::options::RESTART_STRATEGY).unwrap_or_default();
    Ok(Json(json!({
        "jid": job.summary.job,
        "name": job.summary.name,
        "execution-config": {
            "execution-mode": "PIPELINED",
            "restart-strategy": strategy,
            "job-parallelism": job.parallelism,
            "object-reuse-mode": false,
            "user-config": shown(&job.options).collect::<BTreeMap<_, _>>(),
        },
    })))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExceptionsQuery {
    max_exceptions: Option<usize>,
    failure_label_filter: Option<String>,
}

pub async fn exceptions(
    State(api): State<Api>,
    JobPath(job): JobPath,
    query: Result<Query<ExceptionsQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let query = parameters::query(query)?;
    let max = query.max_exceptions.unwrap_or(usize::MAX);
    let job = api.dispatcher.job(job).await?;
    if query.failure_label_filter.is_some_and(|filter| !filter.is_empty()) {
        let text = "failures have no labels: leave `failureLabelFilter` out and look at `exceptionName`, which is the failure's kind";
        return Err(ApiError::bad_request("unsupported-parameter", text));
    }
    let newest_first = job.failures.iter().rev().take(max);
    let entries: Vec<Value> = newest_first
        .clone()
        .map(|met| {
            let worker = met.failure.worker.as_ref().map(|worker| worker.0.as_str());
            json!({
                "exceptionName": met.failure.kind.code(),
                "stacktrace": met.failure.message,
                "timestamp": met.at.0,
                "taskName": met.task,
                "endpoint": worker,
                "taskManagerId": worker,
                "failureLabels": {},
                "concurrentExceptions": [],
            })
        })
        .collect();
    let all: Vec<Value> = newest_first
        .map(|met| {
            let location = met.failure.worker.as_ref().map_or("(unassigned)", |worker| worker.0.as_str());
            json!({
                "exception": met.failure.message,
                "task": met.task,
                "location": location,
                "timestamp": met.at.0,
            })
        })
        .collect();
    let truncated = job.failures_truncated || job.failures.len() > max;
    Ok(Json(json!({
        "root-exception": job.failure.as_ref().map(|failure| &failure.message),
        "timestamp": job.failure.as_ref().and(job.summary.ended.or(Some(job.summary.changed))).map(|at| at.0),
        "all-exceptions": all,
        "truncated": truncated,
        "exceptionHistory": { "entries": entries, "truncated": truncated },
    })))
}

#[derive(Deserialize)]
pub struct CancelQuery {
    mode: Option<String>,
}

pub async fn cancel(
    State(api): State<Api>,
    JobPath(job): JobPath,
    query: Result<Query<CancelQuery>, QueryRejection>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    match parameters::query(query)?.mode.as_deref() {
        None | Some("cancel") => {}
        Some(mode) => {
            let text = format!("`mode` cannot be `{mode}`: a job can only be ended by `cancel`");
            return Err(ApiError::bad_request("unsupported-mode", text));
        }
    }
    api.dispatcher.cancel(job).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({}))))
}

#[derive(Deserialize)]
pub struct WaitQuery {
    timeout: Option<String>,
}

/// Answers when the job has ended or the time is over.
pub async fn wait(
    State(api): State<Api>,
    JobPath(job): JobPath,
    query: Result<Query<WaitQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let timeout = match parameters::query(query)?.timeout {
        None => WAIT_MAX,
        Some(text) => Duration::parse(&text).ok_or_else(|| {
            let expected = Duration::EXPECTED;
            ApiError::bad_request(
                "malformed-timeout",
                format!("`timeout` cannot be `{text}`: expected {expected}"),
            )
        })?,
    };
    let mut progress = api.dispatcher.watch(job).await?;
    let ended = progress.wait_for(|progress| progress.status.is_terminal());
    // Over either way: what there is to say is in the newest picture.
    let _ = tokio::time::timeout(timeout.min(WAIT_MAX), ended).await;
    let progress = progress.borrow().clone();
    Ok(Json(json!({
        "status": progress.status,
        "ended": progress.status.is_terminal(),
        "waiting": progress.waiting,
        "failure": progress.failure,
    })))
}

/// The job's progress as server-sent events, until it has ended.
pub async fn progress(
    State(api): State<Api>,
    JobPath(job): JobPath,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let progress = api.dispatcher.watch(job).await?;
    let events = WatchStream::new(progress).map(|progress| {
        let event = Event::default().event("progress").json_data(Arc::as_ref(&progress));
        Ok(event.unwrap_or_else(|error| Event::default().event("error").data(error.to_string())))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
