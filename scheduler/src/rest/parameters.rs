//! What is read from query strings and bodies, or what is wrong with it.

use axum::extract::{Query, rejection::QueryRejection};
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// A query string's parameters.
pub fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(query)| query)
        .map_err(|error| ApiError::bad_request("malformed-query", error.body_text()))
}

/// A body of JSON: an object.
pub fn body<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let malformed = |found: &str| {
        ApiError::bad_request("malformed-body", format!("the body is not as expected: {found}"))
    };
    // A list would be taken for the fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(malformed("it is no JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| malformed(&error.to_string()))
}

/// The same, which may be left out.
pub fn optional_body<T: Default + DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.is_empty() { Ok(T::default()) } else { body(bytes) }
}

/// The parts of a list that commas separate; `None` where all are meant.
pub fn list(text: Option<&str>) -> Option<Vec<&str>> {
    let parts = text?.split(',').map(str::trim).filter(|part| !part.is_empty());
    Some(parts.collect())
}
