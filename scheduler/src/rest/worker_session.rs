//! The workers' door on the control port: an HTTP/1.1 upgrade, after which the connection is the worker's session.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper_util::rt::TokioIo;
use thalweg_rpc::{Session, WORKER_SESSION_PROTOCOL};

use super::{Api, error::ApiError};

pub async fn open(
    State(api): State<Api>,
    headers: HeaderMap,
    mut request: Request,
) -> Result<Response, ApiError> {
    let protocol = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if protocol != Some(WORKER_SESSION_PROTOCOL) {
        let text = format!("a worker session is an upgrade to `{WORKER_SESSION_PROTOCOL}`");
        return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade-required", text));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => api.gateway.attach(Session::over(TokioIo::new(stream))),
            Err(error) => tracing::warn!(%error, "a worker's connection broke before its session began"),
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(WORKER_SESSION_PROTOCOL));
    Ok(response)
}
