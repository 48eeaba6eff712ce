//! Accumulators: SQL makes none, so all lists are empty; of what does not exist there is none either.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{
    Api,
    error::ApiError,
    ids::{AttemptPath, JobPath, VertexPath},
    subtasks::{self, UNASSIGNED, host},
};

pub async fn of_job(State(api): State<Api>, JobPath(job): JobPath) -> Result<Json<Value>, ApiError> {
    api.dispatcher.job(job).await?;
    Ok(Json(json!({
        "job-accumulators": [],
        "user-task-accumulators": [],
        "serialized-user-task-accumulators": {},
    })))
}

pub async fn of_vertex(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
) -> Result<Json<Value>, ApiError> {
    let (vertex, _) = api.dispatcher.vertex(job, vertex).await?;
    Ok(Json(json!({ "id": vertex.id.to_string(), "user-accumulators": [] })))
}

pub async fn of_subtasks(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
) -> Result<Json<Value>, ApiError> {
    let (vertex, subtasks) = api.dispatcher.vertex(job, vertex).await?;
    let lines = subtasks.iter().map(|subtask| {
        json!({
            "subtask": subtask.index,
            "attempt": subtask.attempt,
            "host": host(subtask),
            "endpoint": subtask.endpoint.as_deref().unwrap_or(UNASSIGNED),
            "user-accumulators": [],
        })
    });
    Ok(Json(json!({
        "id": vertex.id.to_string(),
        "parallelism": vertex.parallelism,
        "subtasks": lines.collect::<Vec<_>>(),
    })))
}

pub async fn of_attempt(State(api): State<Api>, path: AttemptPath) -> Result<Json<Value>, ApiError> {
    let AttemptPath(job, vertex, index, number) = path;
    let subtask = subtasks::find_attempt(&api, job, vertex, index, number).await?;
    Ok(Json(json!({
        "subtask": subtask.index,
        "attempt": subtask.attempt,
        "id": vertex.to_string(),
        "user-accumulators": [],
    })))
}
