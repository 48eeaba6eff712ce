//! A stream's checkpoints: the newest ones, how they are taken and asked for.

use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use thalweg_graph::{
    checkpoint::AfterBarrier,
    options::{self, StateBackend},
};

use super::{Api, error::ApiError, ids::JobPath, parameters, savepoints};
use crate::view::{CheckpointRecord, CheckpointStatus, RestoredCheckpoint};

pub async fn list(State(api): State<Api>, JobPath(job): JobPath) -> Result<Json<Value>, ApiError> {
    let job = api.dispatcher.job(job).await?;
    let of = |wanted: fn(&CheckpointStatus) -> bool| {
        job.checkpoints.iter().rev().filter(move |record| wanted(&record.status))
    };
    let completed = |status: &CheckpointStatus| *status == CheckpointStatus::Completed;
    let failed = |status: &CheckpointStatus| matches!(status, CheckpointStatus::Failed(_));
    let in_progress = of(|status: &CheckpointStatus| *status == CheckpointStatus::InProgress).count() as u64;
    let counts = job.checkpoint_counts;
    let newest = |record: Option<&CheckpointRecord>| record.map(line);
    Ok(Json(json!({
        "counts": {
            "completed": counts.completed,
            "failed": counts.failed,
            "in_progress": in_progress,
            "restored": counts.restored,
            "total": counts.completed + counts.failed + in_progress,
        },
        "latest": {
            "completed": newest(of(completed).find(|record| !record.savepoint)),
            "savepoint": newest(of(completed).find(|record| record.savepoint)),
            "failed": newest(of(failed).next()),
            "restored": job.restored.as_ref().map(restored),
        },
        "summary": summary(of(completed)),
        "history": job.checkpoints.iter().rev().map(line).collect::<Vec<_>>(),
    })))
}

pub(super) fn line(record: &CheckpointRecord) -> Value {
    let (status, why) = match &record.status {
        CheckpointStatus::InProgress => ("IN_PROGRESS", None),
        CheckpointStatus::Completed => ("COMPLETED", None),
        CheckpointStatus::Failed(why) => ("FAILED", Some(why)),
    };
    json!({
        "className": if status == "COMPLETED" { "completed" } else if why.is_some() { "failed" } else { "in_progress" },
        "id": record.checkpoint.0,
        "status": status,
        "is_savepoint": record.savepoint,
        "savepointFormat": record.savepoint.then_some("CANONICAL"),
        "checkpoint_type": if record.savepoint { "SAVEPOINT" } else { "CHECKPOINT" },
        "trigger_timestamp": record.triggered.0,
        "latest_ack_timestamp": record.ended.map_or(-1, |at| at.0 as i64),
        "end_to_end_duration": record.ended.map_or(-1, |at| at.since_ms(record.triggered) as i64),
        "state_size": record.state_bytes,
        "checkpointed_size": record.stored_bytes,
        "alignment_duration_max": record.alignment_ms_max,
        "sync_duration_max": record.sync_ms_max,
        "async_duration_max": record.async_ms_max,
        "num_subtasks": record.subtasks,
        "num_acknowledged_subtasks": record.acknowledged,
        "external_path": record.path,
        "failure_message": why,
        // Of one by itself they are told.
        "tasks": {},
    })
}

fn restored(restored: &RestoredCheckpoint) -> Value {
    json!({
        "id": restored.checkpoint.map(|checkpoint| checkpoint.0),
        "restore_timestamp": restored.at.0,
        "is_savepoint": restored.savepoint,
        "external_path": restored.path,
    })
}

/// Of those that are shown.
fn summary<'a>(completed: impl Iterator<Item = &'a CheckpointRecord>) -> Value {
    let completed: Vec<&CheckpointRecord> = completed.collect();
    let of = |value: fn(&CheckpointRecord) -> u64| spread(completed.iter().map(|record| value(record)));
    json!({
        "state_size": of(|record| record.state_bytes),
        "checkpointed_size": of(|record| record.stored_bytes),
        "end_to_end_duration": of(|record| record.ended.map_or(0, |at| at.since_ms(record.triggered))),
    })
}

/// The least, the largest and the mean of values; of none 0, as Flink has it.
pub(super) fn spread(values: impl Iterator<Item = u64> + Clone) -> Value {
    let count = values.clone().count().max(1) as u64;
    json!({
        "min": values.clone().min().unwrap_or(0),
        "max": values.clone().max().unwrap_or(0),
        "avg": values.sum::<u64>() / count,
    })
}

pub async fn config(State(api): State<Api>, JobPath(job): JobPath) -> Result<Json<Value>, ApiError> {
    let job = api.dispatcher.job(job).await?;
    let ms = |key| job.options.get::<std::time::Duration>(key).unwrap_or_default().as_millis() as u64;
    let retention = job.options.get(&options::CHECKPOINT_RETENTION).unwrap_or_default();
    Ok(Json(json!({
        "mode": "exactly_once",
        "interval": ms(&options::CHECKPOINT_INTERVAL),
        "timeout": ms(&options::CHECKPOINT_TIMEOUT),
        "min_pause": ms(&options::CHECKPOINT_MIN_PAUSE),
        "max_concurrent": 1,
        "externalization": {
            "enabled": retention != "NO_EXTERNALIZED_CHECKPOINTS",
            "delete_on_cancellation": retention != "RETAIN_ON_CANCELLATION",
        },
        "tolerable_failed_checkpoints": job.options.get(&options::CHECKPOINT_TOLERABLE_FAILURES).unwrap_or_default(),
        "unaligned_checkpoints": false,
        "checkpoints_after_tasks_finish": true,
        "state_backend": match job.options.get(&options::STATE_BACKEND) {
            Ok(StateBackend::Lsm) => "lsm",
            _ => "memory",
        },
        "checkpoint_storage": job.options.get(&options::CHECKPOINT_DIR).unwrap_or_default(),
    })))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct CheckpointBody {
    checkpoint_type: Option<String>,
    trigger_id: Option<String>,
}

pub async fn trigger(
    State(api): State<Api>,
    JobPath(job): JobPath,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body: CheckpointBody = parameters::optional_body(&body)?;
    match body.checkpoint_type.as_deref() {
        None | Some("CONFIGURED" | "INCREMENTAL" | "FULL") => {}
        Some(kind) => {
            let text = format!(
                "`checkpointType` cannot be `{kind}`: expected `CONFIGURED`, `INCREMENTAL` or `FULL`"
            );
            return Err(ApiError::bad_request("unsupported-checkpoint-type", text));
        }
    }
    savepoints::order(&api, job, None, AfterBarrier::GoOn, body.trigger_id).await
}
