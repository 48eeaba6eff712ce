//! Workers, as `/taskmanagers`.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde_json::{Value, json};

use super::{
    Api,
    error::ApiError,
    ids::WorkerPath,
    metrics::{self, Measured, Wanted},
    parameters,
};
use crate::view::WorkerDetails;

pub async fn list(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let workers = api.dispatcher.workers().await?;
    Ok(Json(json!({ "taskmanagers": workers.iter().map(line).collect::<Vec<_>>() })))
}

pub async fn details(
    State(api): State<Api>,
    WorkerPath(worker): WorkerPath,
) -> Result<Json<Value>, ApiError> {
    let worker = api.dispatcher.worker(&worker).await?;
    let mut details = line(&worker);
    details["allocatedSlots"] = worker.allocated.iter().map(|job| json!({ "jobId": job })).collect();
    Ok(Json(details))
}

fn line(worker: &WorkerDetails) -> Value {
    let port = worker.data_address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    json!({
        "id": worker.worker.0,
        "path": worker.data_address,
        "host": worker.host,
        "pid": worker.pid,
        "dataPort": port,
        // There is no JVM to watch.
        "jmxPort": -1,
        "timeSinceLastHeartbeat": worker.last_heard.0,
        "slotsNumber": worker.slots,
        "freeSlots": worker.free_slots,
        "hardware": { "physicalMemory": worker.memory_bytes, "freeMemory": worker.memory_bytes.saturating_sub(worker.memory_used_bytes), "managedMemory": worker.memory_bytes },
    })
}

/// What is measured of a worker. Flink's managed memory is the pool from which everything draws here.
pub(super) fn worker_metrics(worker: &WorkerDetails) -> Measured {
    vec![
        ("Status.Flink.Memory.Managed.Used", worker.memory_used_bytes as f64),
        ("Status.Flink.Memory.Managed.Total", worker.memory_bytes as f64),
        ("slotsTotal", f64::from(worker.slots)),
        ("slotsAvailable", f64::from(worker.free_slots)),
    ]
}

pub async fn metrics(
    State(api): State<Api>,
    WorkerPath(worker): WorkerPath,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = parameters::query(query)?;
    let worker = api.dispatcher.worker(&worker).await?;
    let measured = worker_metrics(&worker).into_iter().map(|(name, value)| (name.to_owned(), value));
    Ok(metrics::answer(measured, &wanted))
}
