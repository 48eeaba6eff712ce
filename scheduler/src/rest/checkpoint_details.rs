//! One checkpoint of a stream: vertex by vertex, and of one vertex subtask by subtask.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Map, Value, json};
use thalweg_graph::{CheckpointId, JobId, VertexId, checkpoint::SnapshotStatistics};

use super::{
    Api,
    checkpoints::{line, spread},
    error::ApiError,
    ids::{CheckpointPath, CheckpointVertexPath},
};
use crate::{
    dispatcher::Error,
    view::{CheckpointRecord, CheckpointStatus, JobDetails, VertexDetails},
};

pub async fn of_checkpoint(
    State(api): State<Api>,
    CheckpointPath(job, checkpoint): CheckpointPath,
) -> Result<Json<Value>, ApiError> {
    let details = api.dispatcher.job(job).await?;
    let record = find(&details, job, checkpoint)?;
    let tasks: Map<String, Value> =
        details.vertices.iter().map(|vertex| (vertex.id.to_string(), task(record, vertex))).collect();
    let mut answer = line(record);
    answer["tasks"] = tasks.into();
    Ok(Json(answer))
}

pub async fn of_vertex(
    State(api): State<Api>,
    CheckpointVertexPath(job, checkpoint, vertex): CheckpointVertexPath,
) -> Result<Json<Value>, ApiError> {
    let details = api.dispatcher.job(job).await?;
    let record = find(&details, job, checkpoint)?;
    let vertex = details.vertices.get(vertex.index()).ok_or(Error::UnknownVertex { job, vertex })?;
    let parts: Vec<(u32, &SnapshotStatistics)> = parts(record, vertex.id).collect();
    let spread_of = |value: fn(&SnapshotStatistics) -> u64| spread(parts.iter().map(|(_, part)| value(part)));
    let mut answer = task(record, vertex);
    answer["summary"] = json!({
        "state_size": spread_of(|part| part.state_bytes),
        "checkpointed_size": spread_of(|part| part.stored_bytes),
        "checkpoint_duration": {
            "sync": spread_of(|part| part.sync_ms),
            "async": spread_of(|part| part.async_ms),
        },
        "alignment": { "duration": spread_of(|part| part.alignment_ms) },
    });
    let subtasks = (0..vertex.parallelism).map(|index| {
        let part = parts.iter().find(|(of, _)| *of == index);
        subtask(index, part.map(|(_, part)| *part))
    });
    answer["subtasks"] = subtasks.collect();
    Ok(Json(answer))
}

fn find(details: &JobDetails, job: JobId, checkpoint: CheckpointId) -> Result<&CheckpointRecord, ApiError> {
    let record = details.checkpoints.iter().find(|record| record.checkpoint == checkpoint);
    record.ok_or_else(|| {
        let text = format!("job `{job}` has no checkpoint `{checkpoint}` among its newest");
        ApiError::new(StatusCode::NOT_FOUND, "unknown-checkpoint", text)
    })
}

fn parts(record: &CheckpointRecord, vertex: VertexId) -> impl Iterator<Item = (u32, &SnapshotStatistics)> {
    let of_vertex = record.parts.iter().filter(move |(id, _)| id.vertex == vertex);
    of_vertex.map(|(id, part)| (id.index, part))
}

fn task(record: &CheckpointRecord, vertex: &VertexDetails) -> Value {
    let status = match &record.status {
        CheckpointStatus::InProgress => "IN_PROGRESS",
        CheckpointStatus::Completed => "COMPLETED",
        CheckpointStatus::Failed(_) => "FAILED",
    };
    let parts = || parts(record, vertex.id).map(|(_, part)| part);
    json!({
        "id": record.checkpoint.0,
        "status": status,
        "state_size": parts().map(|part| part.state_bytes).sum::<u64>(),
        "checkpointed_size": parts().map(|part| part.stored_bytes).sum::<u64>(),
        "num_subtasks": vertex.parallelism,
        "num_acknowledged_subtasks": parts().count(),
    })
}

fn subtask(index: u32, part: Option<&SnapshotStatistics>) -> Value {
    let Some(part) = part else {
        return json!({ "className": "pending", "index": index, "status": "pending_or_failed" });
    };
    json!({
        "className": "completed",
        "index": index,
        "status": "completed",
        "state_size": part.state_bytes,
        "checkpointed_size": part.stored_bytes,
        "checkpoint": { "sync": part.sync_ms, "async": part.async_ms },
        "alignment": { "duration": part.alignment_ms },
        "unaligned_checkpoint": false,
    })
}
