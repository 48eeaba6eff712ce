//! Measurements under Flink's paths and names: of a job, of a vertex and its subtasks, its watermarks, and who is slowed down.

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
    jobs::parameters,
};
use crate::{
    clock::Timestamp,
    view::{CheckpointRecord, CheckpointStatus, JobDetails, SubtaskDetails},
};

/// What is measured, by name.
type Measured = Vec<(&'static str, f64)>;

#[derive(Deserialize)]
pub struct Wanted {
    /// Names, separated by commas; without it all are listed.
    get: Option<String>,
    /// Of `min`, `max`, `sum`, `avg`, separated by commas.
    agg: Option<String>,
    /// Indices or ranges such as `0,2-4`.
    subtasks: Option<String>,
}

/// What is measured of a subtask. The end of event time is the only number that a float cannot hold: it comes rounded.
fn subtask_metrics(subtask: &SubtaskDetails) -> Measured {
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

/// Whether a list of names, separated by commas, has one.
fn has(list: &str, name: &str) -> bool {
    list.split(',').any(|listed| listed.trim() == name)
}

/// What is asked for, or the names of all there is.
fn answer(measured: impl Iterator<Item = (String, f64)>, wanted: &Wanted) -> Json<Value> {
    let line = |(id, value): (String, f64)| match &wanted.get {
        None => Some(json!({ "id": id })),
        Some(get) if has(get, &id) => Some(json!({ "id": id, "value": text(value) })),
        Some(_) => None,
    };
    Json(measured.filter_map(line).collect())
}

pub async fn of_job(
    State(api): State<Api>,
    JobPath(job): JobPath,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = parameters(query)?;
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
    let wanted = parameters(query)?;
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
    let wanted = parameters(query)?;
    let (_, subtasks) = api.dispatcher.vertex(job, vertex).await?;
    let subtask = subtasks.get(index as usize).ok_or_else(|| {
        let text = format!("the vertex has no subtask {index}: it has {}", subtasks.len());
        ApiError::new(axum::http::StatusCode::NOT_FOUND, "unknown-subtask", text)
    })?;
    let measured = subtask_metrics(subtask).into_iter().map(|(name, value)| (name.to_owned(), value));
    Ok(answer(measured, &wanted))
}

/// The subtasks' measurements put together.
pub async fn of_subtasks(
    State(api): State<Api>,
    VertexPath(job, vertex): VertexPath,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = parameters(query)?;
    let (_, subtasks) = api.dispatcher.vertex(job, vertex).await?;
    let is_wanted = |subtask: &&SubtaskDetails| match &wanted.subtasks {
        None => true,
        Some(ranges) => ranges.split(',').any(|range| covers(range.trim(), subtask.index)),
    };
    let mut names: Vec<&'static str> = Vec::new();
    let measured: Vec<Measured> = subtasks.iter().filter(is_wanted).map(subtask_metrics).collect();
    for (name, _) in measured.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let line = |name: &&'static str| {
        let Some(get) = &wanted.get else { return Some(json!({ "id": name })) };
        if !has(get, name) {
            return None;
        }
        let values = measured.iter().flatten().filter(|(of, _)| of == name).map(|(_, value)| *value);
        Some(aggregated(name, &values.collect::<Vec<_>>(), wanted.agg.as_deref()))
    };
    Ok(Json(names.iter().filter_map(line).collect()))
}

fn covers(range: &str, index: u32) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    matches!((first.parse::<u32>(), last.parse::<u32>()), (Ok(first), Ok(last)) if (first..=last).contains(&index))
}

fn aggregated(name: &str, values: &[f64], which: Option<&str>) -> Value {
    let sum: f64 = values.iter().sum();
    let all = [
        ("min", values.iter().copied().fold(f64::INFINITY, f64::min)),
        ("max", values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ("avg", sum / values.len().max(1) as f64),
        ("sum", sum),
    ];
    let mut line = json!({ "id": name });
    for (kind, value) in all {
        if which.is_none_or(|which| has(which, kind)) {
            line[kind] = json!(value);
        }
    }
    line
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
