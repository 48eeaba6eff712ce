//! One vertex of a job with its subtasks.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{
    Api,
    error::ApiError,
    ids::VertexPath,
    jobs::{duration, end_time, metrics},
};
use crate::{clock::Timestamp, view::SubtaskDetails};

pub async fn details(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
) -> Result<Json<Value>, ApiError> {
    let ((vertex, subtasks), now) = (api.dispatcher.vertex(job, vertex).await?, Timestamp::wall());
    let subtasks: Vec<Value> = subtasks.iter().map(|subtask| subtask_line(subtask, now)).collect();
    Ok(Json(json!({
        "id": vertex.id.to_string(),
        "name": vertex.name,
        "parallelism": vertex.parallelism,
        "maxParallelism": vertex.parallelism,
        "now": now.0,
        "subtasks": subtasks,
    })))
}

fn subtask_line(subtask: &SubtaskDetails, now: Timestamp) -> Value {
    let endpoint = subtask.endpoint.as_deref().unwrap_or("(unassigned)");
    json!({
        "subtask": subtask.index,
        "status": subtask.state,
        "attempt": subtask.attempt,
        "host": endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host),
        "endpoint": endpoint,
        "start-time": end_time(subtask.started),
        "end-time": end_time(subtask.ended),
        "duration": duration(subtask.started, subtask.ended, now),
        "metrics": metrics(&subtask.metrics, subtask.ended.is_some()),
        "taskmanager-id": subtask.worker.as_ref().map_or("(unassigned)", |worker| &worker.0),
    })
}
