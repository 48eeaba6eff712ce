//! One vertex of a job: with its subtasks, and by worker.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde_json::{Value, json};
use thalweg_graph::TaskMetrics;

use super::{
    Api,
    error::ApiError,
    ids::VertexPath,
    jobs::{counts, duration, end_time, metrics},
    subtasks::{self, UNASSIGNED, host},
};
use crate::{
    clock::Timestamp,
    view::{SubtaskDetails, TaskCounts, VertexDetails},
};

pub async fn details(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
) -> Result<Json<Value>, ApiError> {
    let ((vertex, subtasks), now) = (api.dispatcher.vertex(job, vertex).await?, Timestamp::wall());
    let subtasks: Vec<Value> = subtasks.iter().map(|subtask| subtasks::line(subtask, now)).collect();
    Ok(Json(json!({
        "id": vertex.id.to_string(),
        "name": vertex.name,
        "parallelism": vertex.parallelism,
        "maxParallelism": vertex.parallelism,
        "now": now.0,
        "subtasks": subtasks,
    })))
}

pub async fn metrics_at_job_manager(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
) -> Result<Json<Value>, ApiError> {
    api.dispatcher.vertex(job, vertex).await?;
    Ok(Json(json!([])))
}

pub async fn by_worker(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
) -> Result<Json<Value>, ApiError> {
    let ((vertex, subtasks), now) = (api.dispatcher.vertex(job, vertex).await?, Timestamp::wall());
    let mut workers = BTreeMap::<&str, Vec<&SubtaskDetails>>::new();
    for subtask in &subtasks {
        let worker = subtask.worker.as_ref().map_or(UNASSIGNED, |worker| &worker.0);
        workers.entry(worker).or_default().push(subtask);
    }
    let lines = workers.iter().map(|(worker, subtasks)| worker_line(worker, subtasks, now));
    Ok(Json(json!({
        "id": vertex.id.to_string(),
        "name": vertex.name,
        "now": now.0,
        "taskmanagers": lines.collect::<Vec<_>>(),
    })))
}

fn worker_line(worker: &str, subtasks: &[&SubtaskDetails], now: Timestamp) -> Value {
    let together = together(subtasks);
    let status_counts = counts(&together.tasks);
    json!({
        "taskmanager-id": worker,
        "host": subtasks.first().map_or(UNASSIGNED, |subtask| host(subtask)),
        "endpoint": subtasks.first().and_then(|subtask| subtask.endpoint.as_deref()).unwrap_or(UNASSIGNED),
        "status": together.state(),
        "start-time": end_time(together.started),
        "end-time": end_time(together.ended),
        "duration": duration(together.started, together.ended, now),
        "metrics": metrics(&together.metrics, together.ended.is_some()),
        "status-counts": status_counts,
    })
}

/// Subtasks of a vertex as if they were all of it.
fn together(subtasks: &[&SubtaskDetails]) -> VertexDetails {
    let (mut tasks, mut metrics) = (TaskCounts::default(), TaskMetrics::default());
    for subtask in subtasks {
        tasks.add(subtask.state);
        metrics.add(&subtask.metrics);
    }
    let have_ended = subtasks.iter().all(|subtask| subtask.ended.is_some());
    VertexDetails {
        id: thalweg_graph::VertexId(0),
        name: String::new(),
        parallelism: subtasks.len() as u32,
        tasks,
        started: subtasks.iter().filter_map(|subtask| subtask.started).min(),
        ended: subtasks.iter().filter_map(|subtask| subtask.ended).max().filter(|_| have_ended),
        metrics,
    }
}
