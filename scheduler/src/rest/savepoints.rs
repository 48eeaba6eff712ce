//! Savepoints: asked for, polled by the id of the request, as Flink's asynchronous operations are.

use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use thalweg_graph::{Failure, JobId, checkpoint::AfterBarrier, options};

use super::{
    Api,
    error::ApiError,
    ids::{JobPath, TriggerPath, trigger_id},
    parameters,
};
use crate::{
    job_master::{SavepointOrder, savepoint_folder},
    view::SavepointStatus,
};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SavepointBody {
    #[serde(rename = "target-directory")]
    target_directory: Option<String>,
    #[serde(rename = "cancel-job")]
    cancel_job: bool,
    #[serde(rename = "formatType")]
    format_type: Option<String>,
    #[serde(rename = "triggerId", alias = "trigger-id")]
    trigger_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct StopBody {
    target_directory: Option<String>,
    drain: bool,
    format_type: Option<String>,
    trigger_id: Option<String>,
}

pub async fn trigger(
    State(api): State<Api>,
    JobPath(job): JobPath,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body: SavepointBody = parameters::optional_body(&body)?;
    check_format(body.format_type.as_deref())?;
    let then = if body.cancel_job { AfterBarrier::Stop } else { AfterBarrier::GoOn };
    let folder = folder(&api, job, body.target_directory).await?;
    order(&api, job, Some(folder), then, body.trigger_id).await
}

pub async fn stop(
    State(api): State<Api>,
    JobPath(job): JobPath,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body: StopBody = parameters::optional_body(&body)?;
    check_format(body.format_type.as_deref())?;
    let then = if body.drain { AfterBarrier::Drain } else { AfterBarrier::Stop };
    let folder = folder(&api, job, body.target_directory).await?;
    order(&api, job, Some(folder), then, body.trigger_id).await
}

/// There is one format, from which a job goes on at any parallelism and with any state backend: Flink's canonical one is that too.
fn check_format(format: Option<&str>) -> Result<(), ApiError> {
    match format {
        None | Some("CANONICAL" | "NATIVE") => Ok(()),
        Some(format) => {
            let text = format!(
                "`formatType` cannot be `{format}`: expected `CANONICAL` or `NATIVE`, which are the same here"
            );
            Err(ApiError::bad_request("unsupported-format", text))
        }
    }
}

/// The folder of a savepoint: one of its own in the one that was named, or in that of the job's options.
async fn folder(api: &Api, job: JobId, target: Option<String>) -> Result<String, ApiError> {
    let details = api.dispatcher.job(job).await?;
    if let Some(target) = &target {
        check_place(api, target)?;
    }
    let folder = savepoint_folder(job, &details.options, target, JobId(rand::random()));
    folder.ok_or_else(|| {
        let text = format!(
            "the savepoint needs a folder: give `target-directory`, or set `{}`",
            options::SAVEPOINT_DIR.name
        );
        ApiError::bad_request("no-savepoint-folder", text)
    })
}

/// Refuses a place that the operator does not let jobs name.
pub(super) fn check_place(api: &Api, url: &str) -> Result<(), ApiError> {
    let refused =
        |failure: Failure| ApiError::new(StatusCode::FORBIDDEN, "path-not-allowed", failure.message);
    api.storage.check(url).map_err(refused)
}

pub(super) async fn order(
    api: &Api,
    job: JobId,
    folder: Option<String>,
    then: AfterBarrier,
    trigger: Option<String>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let trigger = match trigger {
        None => JobId(rand::random()).to_string(),
        Some(given) => trigger_id(&given)?,
    };
    api.dispatcher.savepoint(job, SavepointOrder { trigger: trigger.clone(), folder, then }).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "request-id": trigger }))))
}

pub async fn status(
    State(api): State<Api>,
    TriggerPath(job, trigger): TriggerPath,
) -> Result<Json<Value>, ApiError> {
    let status = api.dispatcher.savepoint_status(job, &trigger).await?;
    Ok(Json(match status {
        SavepointStatus::InProgress => json!({ "status": { "id": "IN_PROGRESS" }, "operation": null }),
        SavepointStatus::Completed(folder) => {
            json!({ "status": { "id": "COMPLETED" }, "operation": { "location": folder } })
        }
        SavepointStatus::Failed(why) => json!({
            "status": { "id": "COMPLETED" },
            "operation": { "failure-cause": { "class": "savepoint-failed", "stack-trace": why } },
        }),
    }))
}
