//! Tokens: made, listed and revoked by administrators.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::{Extension, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, error::ApiError, ids::TokenPath, parameters};
use crate::{
    access::{Caller, Role, TokenDigest, TokenRecord, token},
    clock::Timestamp,
};

/// Digits of a name that nobody has given.
const NAME_DIGITS: usize = 8;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    role: Role,
    name: Option<String>,
    expires_in_ms: Option<u64>,
}

/// Makes a token. This answer is the only place where it is ever shown.
pub async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let wanted: Wanted = parameters::body(&body)?;
    let made = token::make().ok_or_else(no_random)?;
    let name = match wanted.name {
        Some(name) if token::is_name(&name) => name,
        Some(_) => {
            let text = "a token's name has 1 to 64 letters, digits, `-`, `_` and `.`";
            return Err(ApiError::bad_request("invalid-name", text));
        }
        None => {
            let digits = token::make().ok_or_else(no_random)?;
            format!("token-{}", &digits[digits.len() - NAME_DIGITS..])
        }
    };
    let created = Timestamp::wall();
    let record = TokenRecord {
        name,
        digest: TokenDigest::of(&made),
        role: wanted.role,
        created,
        expires: wanted.expires_in_ms.map(|time| created.after(Duration::from_millis(time))),
        by: caller.who.to_string(),
    };
    api.dispatcher.create_token(record.clone()).await?;
    let mut shown = shown(&record);
    shown["token"] = json!(made);
    Ok((StatusCode::CREATED, Json(shown)))
}

pub async fn list(State(api): State<Api>) -> Json<Value> {
    let tokens = api.access.tokens.borrow().clone();
    Json(json!({ "tokens": tokens.values().map(shown).collect::<Vec<_>>() }))
}

pub async fn revoke(State(api): State<Api>, TokenPath(name): TokenPath) -> Result<Json<Value>, ApiError> {
    api.dispatcher.revoke_token(name).await?;
    Ok(Json(json!({})))
}

fn shown(record: &TokenRecord) -> Value {
    json!({
        "name": record.name,
        "role": record.role,
        "created": record.created,
        "expires": record.expires,
        "createdBy": record.by,
    })
}

fn no_random() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the system gives no random bytes")
}
