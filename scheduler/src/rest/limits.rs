//! What every call is held to before its handler sees it: parameters that exist, a body that is not too long and comes in time, an
//! answer in time.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody as _, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use http_body_util::LengthLimitError;

use super::{
    error::ApiError,
    routes::{Answer, BodyLimit, Route},
};

/// Time that calls are given.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For a body.
    pub body: Duration,
    /// For the beginning of an answer. Reading a result may wait for its query.
    pub answer: Duration,
    /// For an uploaded file as a whole; between two parts of it the time for a body.
    pub upload: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            body: Duration::from_secs(30),
            answer: Duration::from_secs(120),
            upload: Duration::from_secs(600),
        }
    }
}

/// The limits of one operation.
pub type OfRoute = Arc<(&'static Route, Times)>;

/// An uploaded file of which nothing has come for too long.
#[derive(Debug, thiserror::Error)]
#[error("the body did not go on within {} s", .0.as_secs_f64())]
pub struct Stalled(Duration);

/// Lets a call through to its handler, or refuses it.
pub async fn hold(State(of): State<OfRoute>, request: Request, next: Next) -> Response {
    let (route, times) = *of;
    let held = match check_query(route, request.uri().query()) {
        Ok(()) => bounded(route, times, request).await,
        Err(refusal) => Err(refusal),
    };
    let request = match held {
        Ok(request) => request,
        Err(refusal) => return refusal.into_response(),
    };
    let time = match route.body_max {
        BodyLimit::Bytes(_) => times.answer,
        BodyLimit::Upload => times.upload,
    };
    let answer = tokio::time::timeout(time, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let text = format!("no answer within {} s; ask again", time.as_secs());
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", text).into_response()
    })
}

/// A mistyped parameter would be ignored, and the answer would be to another question.
fn check_query(route: &Route, query: Option<&str>) -> Result<(), ApiError> {
    let names = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let names = names.map(|pair| pair.split('=').next().unwrap_or_default());
    for name in names.filter(|_| matches!(route.answer, Answer::By(_))) {
        if !route.parameters.contains(&name) {
            let known = match route.parameters {
                [] => "it takes none".to_owned(),
                known => format!("it takes `{}`", known.join("`, `")),
            };
            let text = format!("`{}` has no parameter `{name}`: {known}", route.path);
            return Err(ApiError::bad_request("unknown-parameter", text));
        }
    }
    Ok(())
}

async fn bounded(route: &Route, times: Times, request: Request) -> Result<Request, ApiError> {
    let (parts, body) = request.into_parts();
    let body = match route.body_max {
        BodyLimit::Bytes(max) => Body::from(read(body, max, times.body).await?),
        BodyLimit::Upload => without_stalls(body, times.body),
    };
    Ok(Request::from_parts(parts, body))
}

pub(super) async fn read(body: Body, max: usize, time: Duration) -> Result<Bytes, ApiError> {
    // One that says so itself need not be waited for.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large(max as u64));
    }
    match tokio::time::timeout(time, to_bytes(body, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(too_large(max as u64)),
        Ok(Err(error)) => {
            Err(ApiError::bad_request("unreadable-body", format!("the body cannot be read: {error}")))
        }
        Err(_) => {
            let text = format!("the body was not there within {} s", time.as_secs_f64());
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow-body", text))
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>())
}

/// The refusal of a body that is too long.
pub fn too_large(max: u64) -> ApiError {
    let text = format!("the body is too large: at most {max} bytes are taken here");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", text)
}

/// The same body, which breaks where nothing comes for too long.
fn without_stalls(body: Body, time: Duration) -> Body {
    let parts = futures::stream::try_unfold(body.into_data_stream(), move |mut parts| async move {
        match tokio::time::timeout(time, parts.next()).await {
            Ok(part) => {
                part.transpose().map(|part| part.map(|part| (part, parts))).map_err(axum::Error::into_inner)
            }
            Err(_) => Err(Stalled(time).into()),
        }
    });
    Body::from_stream(parts)
}
