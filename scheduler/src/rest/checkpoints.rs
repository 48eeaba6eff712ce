//! A stream's checkpoints: the newest ones, how they are taken, one by itself.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};
use thalweg_graph::{checkpoint::AfterBarrier, options};

use super::{
    Api,
    error::ApiError,
    ids::{CheckpointPath, JobPath},
    savepoints,
};
use crate::view::{CheckpointRecord, CheckpointStatus};

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
            "restored": null,
        },
        "history": job.checkpoints.iter().rev().map(line).collect::<Vec<_>>(),
    })))
}

fn line(record: &CheckpointRecord) -> Value {
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
    })
}

pub async fn details(
    State(api): State<Api>,
    CheckpointPath(job, checkpoint): CheckpointPath,
) -> Result<Json<Value>, ApiError> {
    let details = api.dispatcher.job(job).await?;
    let record = details.checkpoints.iter().find(|record| record.checkpoint == checkpoint);
    record.map(|record| Json(line(record))).ok_or_else(|| {
        let text = format!("job `{job}` has no checkpoint `{checkpoint}` among its newest");
        ApiError::new(StatusCode::NOT_FOUND, "unknown-checkpoint", text)
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
    })))
}

pub async fn trigger(
    State(api): State<Api>,
    JobPath(job): JobPath,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    savepoints::order(&api, job, None, AfterBarrier::GoOn, None).await
}
