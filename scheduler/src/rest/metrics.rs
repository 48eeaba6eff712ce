//! Measurements under Flink's paths and names: of a job, of a vertex and its subtasks, its watermarks, and who is slowed down. Those of
//! several together are in `aggregated`.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Api,
    error::ApiError,
    ids::{JobPath, SubtaskPath, VertexPath},
    parameters, subtasks,
};
use crate::{
    clock::Timestamp,
    view::{CheckpointRecord, CheckpointStatus, JobDetails, SubtaskDetails},
};

/// What is measured, by name.
pub(super) type Measured = Vec<(&'static str, f64)>;

#[derive(Deserialize)]
pub struct Wanted {
    /// Names, separated by commas; without it all are listed.
    get: Option<String>,
}

/// What is measured of a subtask. The end of event time is the only number that a float cannot hold: it comes rounded.
pub(super) fn subtask_metrics(subtask: &SubtaskDetails) -> Measured {
    let (metrics, rates) = (&subtask.metrics, &subtask.rates);
    let mut measured = vec![
        ("numRecordsIn", metrics.records_in as f64),
        ("numRecordsInPerSecond", rates.records_in),
        ("numRecordsOut", metrics.records_out as f64),
        ("numRecordsOutPerSecond", rates.records_out),
        ("numBytesIn", metrics.bytes_in as f64),
        ("numBytesInPerSecond", rates.bytes_in),
        ("numBytesOut", metrics.bytes_out as f64),
        ("numBytesOutPerSecond", rates.bytes_out),
        ("busyTimeMsPerSecond", rates.busy_ms),
        ("idleTimeMsPerSecond", rates.idle_ms),
        ("backPressuredTimeMsPerSecond", rates.backpressured_ms),
        ("accumulateBusyTimeMs", metrics.busy_ms as f64),
        ("accumulateIdleTimeMs", metrics.idle_ms as f64),
        ("accumulateBackPressuredTimeMs", metrics.backpressured_ms as f64),
        ("numLateRecordsDropped", metrics.records_late as f64),
        ("numRecordsInErrors", metrics.records_skipped as f64),
        ("numRecordsAheadOfTime", metrics.records_ahead as f64),
        ("numBytesSpilled", metrics.bytes_spilled as f64),
    ];
    measured.extend(metrics.input_watermark_ms.map(|ms| ("currentInputWatermark", ms as f64)));
    measured.extend(metrics.watermark_ms.map(|ms| ("currentOutputWatermark", ms as f64)));
    measured
}

/// Numbers as text, as Flink gives them.
fn text(value: f64) -> String {
    match value.fract() == 0.0 {
        true => format!("{value:.0}"),
        false => format!("{value:.3}"),
    }
}

/// What is asked for, or the names of all there is.
pub(super) fn answer(measured: impl Iterator<Item = (String, f64)>, wanted: &Wanted) -> Json<Value> {
    let get = parameters::list(wanted.get.as_deref());
    let line = |(id, value): (String, f64)| match &get {
        None => Some(json!({ "id": id })),
        Some(get) if get.contains(&id.as_str()) => Some(json!({ "id": id, "value": text(value) })),
        Some(_) => None,
    };
    Json(measured.filter_map(line).collect())
}

pub async fn of_job(
    State(api): State<Api>,
    JobPath(job): JobPath,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = parameters::query(query)?;
    let job = api.dispatcher.job(job).await?;
    Ok(answer(job_metrics(&job).into_iter().map(|(name, value)| (name.to_owned(), value)), &wanted))
}

/// What is measured of a job as a whole.
pub(super) fn job_metrics(job: &JobDetails) -> Measured {
    let now = job.summary.ended.unwrap_or_else(Timestamp::wall);
    let mut measured = vec![
        ("uptime", now.since_ms(job.summary.submitted) as f64),
        ("numRestarts", f64::from(job.restarts)),
    ];
    if job.mode == Some(thalweg_graph::RuntimeMode::Streaming) {
        let completed = |record: &&CheckpointRecord| record.status == CheckpointStatus::Completed;
        measured.push(("numberOfCompletedCheckpoints", job.checkpoint_counts.completed as f64));
        measured.push(("numberOfFailedCheckpoints", job.checkpoint_counts.failed as f64));
        if let Some(last) = job.checkpoints.iter().rfind(completed) {
            let took = last.ended.unwrap_or(last.triggered).since_ms(last.triggered);
            measured.push(("lastCheckpointDuration", took as f64));
            measured.push(("lastCheckpointSize", last.stored_bytes as f64));
            measured.push(("lastCheckpointFullSize", last.state_bytes as f64));
        }
    }
    measured
}

pub async fn of_vertex(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = parameters::query(query)?;
    let (_, subtasks) = api.dispatcher.vertex(job, vertex).await?;
    let measured = subtasks.iter().flat_map(|subtask| {
        subtask_metrics(subtask).into_iter().map(|(name, value)| (format!("{}.{name}", subtask.index), value))
    });
    Ok(answer(measured, &wanted))
}

pub async fn of_subtask(
    State(api): State<Api>,
    SubtaskPath(job, vertex, index): SubtaskPath,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = parameters::query(query)?;
    let subtask = subtasks::find(&api, job, vertex, index).await?;
    let measured = subtask_metrics(&subtask).into_iter().map(|(name, value)| (name.to_owned(), value));
    Ok(answer(measured, &wanted))
}

pub async fn watermarks(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
) -> Result<Json<Value>, ApiError> {
    let (_, subtasks) = api.dispatcher.vertex(job, vertex).await?;
    let lines = subtasks.iter().filter_map(|subtask| {
        // A source reads no watermark; what it says itself is what is asked for.
        let ms = subtask.metrics.input_watermark_ms.or(subtask.metrics.watermark_ms)?;
        Some(json!({ "id": format!("{}.currentInputWatermark", subtask.index), "value": ms.to_string() }))
    });
    Ok(Json(lines.collect()))
}

/// What holds event time back, vertex by vertex.
pub async fn event_time(State(api): State<Api>, JobPath(job): JobPath) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "vertices": api.dispatcher.event_time(job).await? })))
}

pub async fn backpressure(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
) -> Result<Json<Value>, ApiError> {
    let (_, subtasks) = api.dispatcher.vertex(job, vertex).await?;
    let lines: Vec<Value> = subtasks.iter().map(backpressure_line).collect();
    let worst = subtasks.iter().map(|subtask| subtask.rates.backpressured_ms).fold(0.0, f64::max);
    let level = level(worst / 1_000.0);
    Ok(Json(json!({
        "status": "ok",
        "backpressureLevel": level,
        "backpressure-level": level,
        "end-timestamp": Timestamp::wall().0,
        "subtasks": lines,
    })))
}

fn backpressure_line(subtask: &SubtaskDetails) -> Value {
    let rates = &subtask.rates;
    let level = level(rates.backpressured_ms / 1_000.0);
    json!({
        "subtask": subtask.index,
        "attempt-number": subtask.attempt,
        "backpressureLevel": level,
        "backpressure-level": level,
        "ratio": rates.backpressured_ms / 1_000.0,
        "idleRatio": rates.idle_ms / 1_000.0,
        "busyRatio": rates.busy_ms / 1_000.0,
    })
}

/// Flink's borders.
fn level(ratio: f64) -> &'static str {
    match ratio {
        ratio if ratio <= 0.1 => "ok",
        ratio if ratio <= 0.5 => "low",
        _ => "high",
    }
}
