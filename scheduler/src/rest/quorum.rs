//! The quorum: how it stands and who belongs to it, under `/quorum`; what its members say to each other, under `/internal/quorum`.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};

use thalweg_rpc::LEADER_PATH;

use super::{Api, error::ApiError, ids::MemberPath, parameters};
use crate::quorum::{MemberAddress, QuorumMember, QuorumStatus, member::Error, network::CALL_PATH};

/// Largest call of a member: a batch of entries of the log, or a part of a snapshot.
const CALL_BYTES_MAX: usize = 256 << 20;

/// What members and workers ask of this one. Every member answers.
pub fn calls() -> Router<Api> {
    Router::new()
        .route(LEADER_PATH, get(leader))
        .route(&format!("{CALL_PATH}/{{call}}"), post(call))
        .layer(DefaultBodyLimit::max(CALL_BYTES_MAX))
}

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

/// The newest term and where its leader is, for workers: `7 host:port`.
async fn leader(State(api): State<Api>) -> Result<String, ApiError> {
    let seen = member(&api)?.leadership().borrow().clone();
    let leader = seen.leader.ok_or_else(|| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no-leader", "no JobManager leads for the time being")
    })?;
    Ok(format!("{} {leader}", seen.term))
}

async fn call(State(api): State<Api>, Path(call): Path<String>, question: Bytes) -> Response {
    let member = match member(&api) {
        Ok(member) => member,
        Err(error) => return error.into_response(),
    };
    match member.answer(&call, &question).await {
        Some(Ok(answer)) => answer.into_response(),
        Some(Err(error)) => refusal(error).into_response(),
        None => {
            let text = format!("the quorum knows no call `{call}`");
            ApiError::new(StatusCode::NOT_FOUND, "unknown-call", text).into_response()
        }
    }
}

fn member(api: &Api) -> Result<&QuorumMember, ApiError> {
    api.quorum.as_ref().ok_or_else(|| {
        let text = "this JobManager belongs to no quorum: set `high-availability.type` to `raft`";
        ApiError::new(StatusCode::NOT_FOUND, "no-quorum", text)
    })
}

fn refusal(error: Error) -> ApiError {
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
