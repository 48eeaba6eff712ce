//! How a job has ended, as Flink's client asks for it.

use axum::{Json, extract::State};
use serde_json::{Value, json};
use thalweg_graph::JobStatus;

use super::{Api, error::ApiError, ids::JobPath};

pub async fn execution_result(
    State(api): State<Api>,
    JobPath(job): JobPath,
) -> Result<Json<Value>, ApiError> {
    let details = api.dispatcher.job(job).await?;
    let summary = &details.summary;
    let Some(ended) = summary.ended.filter(|_| summary.status.is_terminal()) else {
        return Ok(Json(json!({ "status": { "id": "IN_PROGRESS" }, "job-execution-result": null })));
    };
    let status = match summary.status {
        JobStatus::Finished => "SUCCEEDED",
        JobStatus::Canceled => "CANCELED",
        _ => "FAILED",
    };
    let cause = details
        .failure
        .as_ref()
        .map(|failure| json!({ "class": failure.kind.code(), "stack-trace": failure.message }));
    Ok(Json(json!({
        "status": { "id": "COMPLETED" },
        "job-execution-result": {
            "id": job,
            "application-status": status,
            "accumulator-results": {},
            "net-runtime": ended.since_ms(summary.submitted),
            "failure-cause": cause,
        },
    })))
}
