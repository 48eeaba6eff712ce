//! Refusals as REST gives them: a status, `{"errors": [text], "code": ..}`, and for SQL the place.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::routes::Route;
use crate::{artifact_store, dispatcher::Error};

/// A refusal.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: Body,
}

#[derive(Debug, Serialize)]
struct Body {
    errors: Vec<String>,
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u64>,
}

impl ApiError {
    /// A refusal with a stable code.
    pub fn new(status: StatusCode, code: &str, text: impl Into<String>) -> Self {
        let body = Body { errors: vec![text.into()], code: code.to_owned(), line: None, column: None };
        Self { status, body }
    }

    /// What Flink has and this has not.
    pub fn unsupported(route: &Route, why: &str) -> Self {
        let operation = format!("`{} {}`", route.method.to_uppercase(), route.path);
        Self::new(StatusCode::NOT_IMPLEMENTED, "unsupported", format!("{operation} is not served: {why}"))
    }

    /// The client's mistake.
    pub fn bad_request(code: &str, text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, text)
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::UnknownJob(_)
            | Error::UnknownVertex { .. }
            | Error::UnknownWorker(_)
            | Error::UnknownToken(_)
            | Error::UnknownTrigger { .. } => StatusCode::NOT_FOUND,
            Error::NoResult(_) | Error::NoPage { .. } => StatusCode::NOT_FOUND,
            Error::ResultGone(_) | Error::PageOutOfTurn { .. } => StatusCode::GONE,
            Error::ResultTaken(_) => StatusCode::CONFLICT,
            Error::InvalidGraph(_) | Error::InvalidOption(_) | Error::Sql(_) | Error::UnknownQueue { .. } => {
                StatusCode::BAD_REQUEST
            }
            Error::OtherBuild { .. } | Error::JobExists(_) | Error::KeyReused(_) => StatusCode::CONFLICT,
            Error::JobFailed { .. } | Error::JobCanceled(_) | Error::NotRunning(_) => StatusCode::CONFLICT,
            Error::CannotRescale { .. } => StatusCode::CONFLICT,
            Error::TokenExists(_) | Error::TooManyTokens(_) => StatusCode::CONFLICT,
            Error::NoStream(_) => StatusCode::BAD_REQUEST,
            Error::ResultUnreadable { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Error::TooManyJobs(_) => StatusCode::TOO_MANY_REQUESTS,
            Error::HistoryUnreadable(_) | Error::Stopped | Error::NotLeader { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        let mut refusal = ApiError::new(status, error.code(), error.to_string());
        if let Error::Sql(sql) = &error {
            // The place has fields of its own.
            refusal.body.errors = vec![sql.message.clone()];
            refusal.body.line = sql.position.map(|position| position.line);
            refusal.body.column = sql.position.map(|position| position.column);
        }
        refusal
    }
}

impl From<artifact_store::Error> for ApiError {
    fn from(error: artifact_store::Error) -> Self {
        use artifact_store::Error;
        let status = match &error {
            Error::Off => StatusCode::FORBIDDEN,
            Error::Unknown(_) => StatusCode::NOT_FOUND,
            Error::TooLarge { .. } | Error::LongScript { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Error::NoRoom { .. } => StatusCode::INSUFFICIENT_STORAGE,
            Error::Folder { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        ApiError::new(status, error.code(), error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
