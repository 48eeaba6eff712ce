//! The removal of savepoints: asked for, then polled by the id of the request. How it went is remembered by this JobManager alone, for a
//! while: a removal done twice does no harm.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use thalweg_graph::{Failure, FailureKind, JobId};

use super::{Api, error::ApiError, ids::ClusterTriggerPath, parameters, savepoints};

/// Outcomes that are remembered.
const OUTCOMES_MAX: usize = 256;
/// Time for one.
const TIME_MAX: Duration = Duration::from_secs(600);
/// Removals at a time.
const UNDER_WAY_MAX: usize = 16;

/// How a removal went; `None` while it is under way.
type Outcome = Option<Result<(), Failure>>;

/// How removals stand, by their triggers, the oldest first.
#[derive(Clone, Default)]
pub struct Disposals(Arc<Mutex<VecDeque<(String, Outcome)>>>);

impl Disposals {
    /// Takes note of one that begins. Returns whether it may.
    fn begin(&self, trigger: &str) -> bool {
        let mut known = self.0.lock();
        if known.iter().filter(|(_, outcome)| outcome.is_none()).count() >= UNDER_WAY_MAX {
            return false;
        }
        known.push_back((trigger.to_owned(), None));
        while known.len() > OUTCOMES_MAX {
            let oldest = known.iter().position(|(_, outcome)| outcome.is_some());
            // Those under way are fewer than may be remembered.
            known.remove(oldest.unwrap_or(0));
        }
        true
    }

    fn end(&self, trigger: &str, outcome: Result<(), Failure>) {
        if let Some(known) = self.0.lock().iter_mut().find(|(known, _)| known == trigger) {
            known.1 = Some(outcome);
        }
    }

    fn get(&self, trigger: &str) -> Option<Outcome> {
        self.0.lock().iter().find(|(known, _)| known == trigger).map(|(_, outcome)| outcome.clone())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct DisposalBody {
    savepoint_path: String,
}

pub async fn trigger(State(api): State<Api>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let DisposalBody { savepoint_path: path } = parameters::body(&body)?;
    savepoints::check_place(&api, &path)?;
    let trigger = JobId(rand::random()).to_string();
    if !api.disposals.begin(&trigger) {
        let text =
            format!("{UNDER_WAY_MAX} savepoints are being removed: ask again when one of them is gone");
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too-many-disposals", text));
    }
    let asked = trigger.clone();
    tokio::spawn(async move {
        let removing = tokio::time::timeout(TIME_MAX, api.storage.dispose(&path));
        let outcome = removing.await.unwrap_or_else(|_| {
            let text = format!("the storage has not removed it within {} s", TIME_MAX.as_secs());
            Err(Failure::new(FailureKind::Unreachable, text))
        });
        match &outcome {
            Ok(()) => tracing::info!(path, "removed a savepoint"),
            Err(error) => tracing::warn!(path, %error, "a savepoint was not removed"),
        }
        api.disposals.end(&asked, outcome);
    });
    Ok(Json(json!({ "request-id": trigger })))
}

pub async fn status(
    State(api): State<Api>,
    ClusterTriggerPath(trigger): ClusterTriggerPath,
) -> Result<Json<Value>, ApiError> {
    let Some(outcome) = api.disposals.get(&trigger) else {
        let text = format!("no removal of a savepoint has the trigger `{trigger}`");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown-trigger", text));
    };
    Ok(Json(match outcome {
        None => json!({ "status": { "id": "IN_PROGRESS" }, "operation": null }),
        Some(Ok(())) => json!({ "status": { "id": "COMPLETED" }, "operation": {} }),
        Some(Err(why)) => json!({
            "status": { "id": "COMPLETED" },
            "operation": { "failure-cause": { "class": why.kind.code(), "stack-trace": why.message } },
        }),
    }))
}
