//! The quorum: how it stands and who belongs to it.

use axum::{Json, body::Bytes, extract::State, http::StatusCode};

use super::{Api, error::ApiError, ids::MemberPath, parameters};
use crate::quorum::{MemberAddress, QuorumMember, QuorumStatus, member::Error};

pub async fn status(State(api): State<Api>) -> Result<Json<QuorumStatus>, ApiError> {
    Ok(Json(member(&api)?.status()))
}

pub async fn add(State(api): State<Api>, body: Bytes) -> Result<Json<QuorumStatus>, ApiError> {
    let new: MemberAddress = parameters::body(&body)?;
    let member = member(&api)?;
    member.add(new).await.map_err(refusal)?;
    Ok(Json(member.status()))
}

pub async fn remove(
    State(api): State<Api>,
    MemberPath(number): MemberPath,
) -> Result<Json<QuorumStatus>, ApiError> {
    let member = member(&api)?;
    member.remove(number).await.map_err(refusal)?;
    Ok(Json(member.status()))
}

pub(super) fn member(api: &Api) -> Result<&QuorumMember, ApiError> {
    api.quorum.as_ref().ok_or_else(|| {
        let text = "this JobManager belongs to no quorum: set `high-availability.type` to `raft`";
        ApiError::new(StatusCode::NOT_FOUND, "no-quorum", text)
    })
}

pub(super) fn refusal(error: Error) -> ApiError {
    let (status, code) = match &error {
        Error::NotLeader { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not-leader"),
        Error::Change(_) => (StatusCode::CONFLICT, "members"),
        Error::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
        Error::Call(_) => (StatusCode::BAD_REQUEST, "invalid-call"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "stopped"),
    };
    let text = match &error {
        Error::NotLeader { leader: Some(address) } => format!("{error}; the one at {address} does"),
        error => error.to_string(),
    };
    ApiError::new(status, code, text)
}
