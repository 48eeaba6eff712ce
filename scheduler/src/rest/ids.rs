//! Ids in paths. One that is none is the client's mistake: 400, not 404.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::Deserialize;
use thalweg_graph::{CheckpointId, JobId, VertexId};

use super::error::ApiError;

#[derive(Deserialize)]
struct Ids {
    jobid: String,
    vertexid: Option<String>,
    subtaskindex: Option<String>,
    triggerid: Option<String>,
    checkpointid: Option<String>,
}

/// `{jobid}`.
pub struct JobPath(pub JobId);

/// `{jobid}` and `{vertexid}`.
pub struct VertexPath(pub JobId, pub VertexId);

/// `{jobid}`, `{vertexid}` and `{subtaskindex}`.
pub struct SubtaskPath(pub JobId, pub VertexId, pub u32);

/// `{jobid}` and `{triggerid}`, which looks like a job's.
pub struct TriggerPath(pub JobId, pub String);

/// `{jobid}` and `{checkpointid}`.
pub struct CheckpointPath(pub JobId, pub CheckpointId);

impl<S: Send + Sync> FromRequestParts<S> for TriggerPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ids { jobid, triggerid, .. } = ids(parts, state).await?;
        Ok(TriggerPath(parse(&jobid)?, trigger_id(&triggerid.unwrap_or_default())?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CheckpointPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ids { jobid, checkpointid, .. } = ids(parts, state).await?;
        let text = checkpointid.unwrap_or_default();
        let checkpoint = text.parse().map_err(|_| {
            ApiError::bad_request("malformed-id", format!("`{text}` is not the number of a checkpoint"))
        })?;
        Ok(CheckpointPath(parse(&jobid)?, CheckpointId(checkpoint)))
    }
}

/// A trigger's id, which a client may choose.
pub fn trigger_id(text: &str) -> Result<String, ApiError> {
    let id: JobId = text.parse().map_err(|_| {
        let text = format!("`{text}` is not a trigger id: expected 32 hexadecimal digits");
        ApiError::bad_request("malformed-id", text)
    })?;
    Ok(id.to_string())
}

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(JobPath(parse(&ids(parts, state).await?.jobid)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for VertexPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ids { jobid, vertexid, .. } = ids(parts, state).await?;
        Ok(VertexPath(parse(&jobid)?, parse(&vertexid.unwrap_or_default())?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SubtaskPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ids { jobid, vertexid, subtaskindex, .. } = ids(parts, state).await?;
        let text = subtaskindex.unwrap_or_default();
        let index = text.parse().map_err(|_| {
            ApiError::bad_request("malformed-id", format!("`{text}` is not the number of a subtask"))
        })?;
        Ok(SubtaskPath(parse(&jobid)?, parse(&vertexid.unwrap_or_default())?, index))
    }
}

async fn ids<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Ids, ApiError> {
    let path = Path::<Ids>::from_request_parts(parts, state).await;
    path.map(|Path(ids)| ids).map_err(|error| ApiError::bad_request("malformed-path", error.to_string()))
}

fn parse<T: FromStr<Err: ToString>>(text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|error: T::Err| ApiError::bad_request("malformed-id", error.to_string()))
}
