//! Subtasks one by one: their current attempts, and their times.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Map, Value, json};
use thalweg_graph::{JobId, VertexId};

use super::{
    Api,
    error::ApiError,
    ids::{AttemptPath, SubtaskPath, VertexPath},
    jobs::{duration, end_time, metrics},
};
use crate::{clock::Timestamp, view::SubtaskDetails};

/// Flink's word for what no worker has.
pub const UNASSIGNED: &str = "(unassigned)";

/// The host that a subtask runs or ran on.
pub fn host(subtask: &SubtaskDetails) -> &str {
    let endpoint = subtask.endpoint.as_deref().unwrap_or(UNASSIGNED);
    endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host)
}

/// A subtask's current attempt.
pub fn line(subtask: &SubtaskDetails, now: Timestamp) -> Value {
    json!({
        "subtask": subtask.index,
        "status": subtask.state,
        "attempt": subtask.attempt,
        "host": host(subtask),
        "endpoint": subtask.endpoint.as_deref().unwrap_or(UNASSIGNED),
        "start-time": end_time(subtask.started),
        "start_time": end_time(subtask.started),
        "end-time": end_time(subtask.ended),
        "duration": duration(subtask.started, subtask.ended, now),
        "metrics": metrics(&subtask.metrics, subtask.ended.is_some()),
        "taskmanager-id": subtask.worker.as_ref().map_or(UNASSIGNED, |worker| &worker.0),
    })
}

/// One subtask of a vertex.
pub async fn find(api: &Api, job: JobId, vertex: VertexId, index: u32) -> Result<SubtaskDetails, ApiError> {
    let (_, mut subtasks) = api.dispatcher.vertex(job, vertex).await?;
    let count = subtasks.len();
    if index as usize >= count {
        let text = format!("the vertex has no subtask {index}: it has {count}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown-subtask", text));
    }
    Ok(subtasks.swap_remove(index as usize))
}

/// One attempt of a subtask: of older ones nothing but their failures is kept.
pub async fn find_attempt(
    api: &Api,
    job: JobId,
    vertex: VertexId,
    index: u32,
    number: u32,
) -> Result<SubtaskDetails, ApiError> {
    let subtask = find(api, job, vertex, index).await?;
    if subtask.attempt != number {
        let text = format!(
            "attempt {number} of the subtask is not kept: the current one is {}; why older ones failed is at \
             `/jobs/{job}/exceptions`",
            subtask.attempt
        );
        return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown-attempt", text));
    }
    Ok(subtask)
}

pub async fn current(
    State(api): State<Api>,
    SubtaskPath(job, vertex, index): SubtaskPath,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(line(&find(&api, job, vertex, index).await?, Timestamp::wall())))
}

pub async fn attempt(State(api): State<Api>, path: AttemptPath) -> Result<Json<Value>, ApiError> {
    let AttemptPath(job, vertex, index, number) = path;
    Ok(Json(line(&find_attempt(&api, job, vertex, index, number).await?, Timestamp::wall())))
}

pub async fn times(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
) -> Result<Json<Value>, ApiError> {
    let ((vertex, subtasks), now) = (api.dispatcher.vertex(job, vertex).await?, Timestamp::wall());
    let lines = subtasks.iter().map(|subtask| {
        json!({
            "subtask": subtask.index,
            "host": host(subtask),
            "endpoint": subtask.endpoint.as_deref().unwrap_or(UNASSIGNED),
            "duration": duration(subtask.started, subtask.ended, now),
            "timestamps": timestamps(subtask),
        })
    });
    Ok(Json(json!({
        "id": vertex.id.to_string(),
        "name": vertex.name,
        "now": now.0,
        "subtasks": lines.collect::<Vec<_>>(),
    })))
}

/// Of a task's states only the times of the first that costs something and of the last are kept.
fn timestamps(subtask: &SubtaskDetails) -> Map<String, Value> {
    let started = subtask.started.map(|at| ("DEPLOYING".to_owned(), at.0.into()));
    let ended = subtask.ended.map(|at| (subtask.state.to_string(), at.0.into()));
    started.into_iter().chain(ended).collect()
}
