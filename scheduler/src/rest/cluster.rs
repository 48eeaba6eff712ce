//! The cluster as a whole: `/overview`, `/config`, `/jobmanager/config`.

use axum::{Json, extract::State};
use serde_json::{Value, json};
use thalweg_graph::secret::is_secret;

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

pub async fn config() -> Json<Value> {
    Json(json!({
        "refresh-interval": 3000,
        "timezone-name": "Coordinated Universal Time",
        "timezone-offset": 0,
        "flink-version": VERSION,
        "flink-revision": thalweg_graph::BUILD_ID,
        "features": { "web-submit": false, "web-cancel": true, "web-rescale": false, "web-history": false },
    }))
}

pub async fn job_manager_config(State(api): State<Api>) -> Json<Value> {
    let entries = api.options.0.iter().map(|(key, value)| json!({ "key": key, "value": shown(key, value) }));
    Json(entries.collect())
}

/// Secrets stay where they are.
fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    if is_secret(key) { "******" } else { value }
}
