//! The cluster as a whole: `/overview`, `/config`, `/datasets`, and its end.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Api, error::ApiError};

/// The version, where Flink's tools look for it.
const VERSION: &str = concat!("thalweg-", env!("CARGO_PKG_VERSION"));

pub async fn overview(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let overview = api.dispatcher.overview().await?;
    Ok(Json(json!({
        "taskmanagers": overview.workers,
        "slots-total": overview.slots_total,
        "slots-available": overview.slots_free,
        "jobs-running": overview.jobs_running,
        "jobs-finished": overview.jobs_finished,
        "jobs-cancelled": overview.jobs_canceled,
        "jobs-failed": overview.jobs_failed,
        "flink-version": VERSION,
        "flink-commit": thalweg_graph::BUILD_ID,
    })))
}

pub async fn config(State(api): State<Api>) -> Json<Value> {
    let submit = api.artifacts.is_open();
    Json(json!({
        "refresh-interval": 3000,
        "timezone-name": "Coordinated Universal Time",
        "timezone-offset": 0,
        "flink-version": VERSION,
        "flink-revision": thalweg_graph::BUILD_ID,
        "features": { "web-submit": submit, "web-cancel": true, "web-rescale": false, "web-history": false },
    }))
}

pub async fn data_sets() -> Json<Value> {
    Json(json!({ "dataSets": [] }))
}

/// The answer goes out before the port closes.
pub async fn stop(State(api): State<Api>) -> Json<Value> {
    tracing::info!("stopping, as asked by REST");
    api.stop.cancel();
    Json(json!({}))
}
