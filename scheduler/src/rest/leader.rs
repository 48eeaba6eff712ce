//! What only the leader answers: other members send the client there, and the leader makes sure that it still is one before it tells what
//! somebody could act on.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{Api, error::ApiError};
use crate::quorum::{QuorumMember, member::Error};

/// Time for a majority to confirm that this member leads.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(2);
/// When to ask again while nobody leads, in seconds.
const RETRY_AFTER: &str = "1";

/// Lets a request through if this JobManager leads.
pub async fn only(State(api): State<Api>, request: Request, next: Next) -> Response {
    if let Some(quorum) = &api.quorum {
        let confirmed = match request.method() {
            // What changes something is decided by a majority anyway.
            &Method::GET => confirm(quorum).await,
            _ if quorum.leadership().borrow().leads => Ok(()),
            _ => Err(quorum.leadership().borrow().leader.clone()),
        };
        if let Err(leader) = confirmed {
            return elsewhere(&request, api.trust.scheme(), leader.as_deref());
        }
    }
    next.run(request).await
}

async fn confirm(quorum: &QuorumMember) -> Result<(), Option<String>> {
    let seen = quorum.leadership().borrow().clone();
    if !seen.leads {
        return Err(seen.leader);
    }
    match tokio::time::timeout(CONFIRM_TIMEOUT, quorum.ensure_leads()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Error::NotLeader { leader })) => Err(leader),
        Ok(Err(_)) | Err(_) => Err(None),
    }
}

/// Where to ask instead.
fn elsewhere(request: &Request, scheme: &str, leader: Option<&str>) -> Response {
    let location = leader.and_then(|address| {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        HeaderValue::from_str(&format!("{scheme}://{address}{path}")).ok()
    });
    match location {
        Some(location) => {
            let text =
                format!("this JobManager does not lead; the one at {} does", leader.unwrap_or_default());
            let mut answer =
                ApiError::new(StatusCode::TEMPORARY_REDIRECT, "not-leader", text).into_response();
            answer.headers_mut().insert(header::LOCATION, location);
            answer
        }
        None => later("no JobManager leads for the time being; ask again"),
    }
}

/// What is asked here cannot be answered before a leader is heard.
pub(super) fn later(text: &str) -> Response {
    let mut answer = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no-leader", text).into_response();
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    answer
}
