//! What the cluster's own processes ask under `/internal`: workers for their sessions and for the leader, members of the quorum for votes
//! and entries. Where the cluster has a secret, only who has proven to know it at the opening of the connection is heard; where
//! it asks for certificates, only who has shown one.

use axum::{
    Router,
    extract::{Extension, Path, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use thalweg_rpc::{LEADER_PATH, WORKER_SESSION_PATH, handshake};

use super::{
    Api, access::Called, error::ApiError, leader, limits, limits::Times, opening::Peer, quorum,
    worker_session,
};
use crate::quorum::network::CALL_PATH;

/// Largest call of a member: a batch of entries of the log, or a part of a snapshot.
const CALL_BYTES_MAX: usize = 256 << 20;

/// All of it.
pub fn calls(api: &Api, times: Times) -> Router<Api> {
    let sessions = Router::new()
        .route(WORKER_SESSION_PATH, get(worker_session::open))
        .layer(middleware::from_fn_with_state(api.clone(), leader::only));
    Router::new()
        .route(LEADER_PATH, get(newest_leader))
        .route(&format!("{CALL_PATH}/{{call}}"), post(call))
        .layer(Extension(times))
        .merge(sessions)
        .layer(middleware::from_fn_with_state(api.clone(), of_cluster_only))
}

/// Refuses who has not proven to belong to the cluster.
async fn of_cluster_only(
    State(api): State<Api>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let why = if api.trust.secret.is_some() && !peer.of_cluster {
        handshake::Error::NoSecretHere
    } else if api.trust.asks_certificates() && !peer.is_certified {
        handshake::Error::NoCertificateHere
    } else {
        return next.run(request).await;
    };
    // It is told in its own terms; here it is the other way round.
    let (code, missing) = match why {
        handshake::Error::NoSecretHere => ("cluster-secret", "it did not prove to know the cluster's secret"),
        _ => ("cluster-certificate", "it has shown no certificate"),
    };
    tracing::warn!(peer = %peer.address, path = request.uri().path(), why = missing, "refused an internal call");
    let answer = ApiError::new(StatusCode::UNAUTHORIZED, code, why.to_string()).into_response();
    Called::by(&request).note(&api, None, &answer);
    answer
}

/// The newest term and where its leader is, for workers: `7 host:port`.
async fn newest_leader(State(api): State<Api>) -> Result<String, ApiError> {
    let seen = quorum::member(&api)?.leadership().borrow().clone();
    let leader = seen.leader.ok_or_else(|| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no-leader", "no JobManager leads for the time being")
    })?;
    Ok(format!("{} {leader}", seen.term))
}

async fn call(
    State(api): State<Api>,
    Extension(times): Extension<Times>,
    Path(call): Path<String>,
    request: Request,
) -> Response {
    let answer = async {
        let member = quorum::member(&api)?;
        let question = limits::read(request.into_body(), CALL_BYTES_MAX, times.body).await?;
        match member.answer(&call, &question).await {
            Some(Ok(answer)) => Ok(answer.into_response()),
            Some(Err(error)) => Err(quorum::refusal(error)),
            None => {
                let text = format!("the quorum knows no call `{call}`");
                Err(ApiError::new(StatusCode::NOT_FOUND, "unknown-call", text))
            }
        }
    };
    answer.await.unwrap_or_else(|refusal: ApiError| refusal.into_response())
}
