//! Workers, as `/taskmanagers`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};
use thalweg_graph::WorkerId;

use super::{Api, error::ApiError};
use crate::view::WorkerDetails;

pub async fn list(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let workers = api.dispatcher.workers().await?;
    Ok(Json(json!({ "taskmanagers": workers.iter().map(line).collect::<Vec<_>>() })))
}

pub async fn details(State(api): State<Api>, Path(worker): Path<String>) -> Result<Json<Value>, ApiError> {
    let worker = api.dispatcher.worker(&WorkerId(worker)).await?;
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
        "timeSinceLastHeartbeat": worker.last_heard.0,
        "slotsNumber": worker.slots,
        "freeSlots": worker.free_slots,
        "hardware": { "physicalMemory": worker.memory_bytes, "freeMemory": worker.memory_bytes.saturating_sub(worker.memory_used_bytes) },
    })
}
