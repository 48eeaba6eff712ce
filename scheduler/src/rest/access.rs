//! Lets a call through to its operation if its caller may do that.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{Api, error::ApiError, opening::Peer};
use crate::{
    access::{Caller, Refused, Role, login::Credentials},
    clock::Timestamp,
};

/// What is asked for, and what that needs.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// In lower case.
    pub method: &'static str,
    /// With `{parameters}`.
    pub path: &'static str,
    /// What its caller must be allowed to do.
    pub role: Role,
}

/// Lets a call through, with its [`Caller`] as an extension, or refuses it.
pub async fn check(
    State((api, needs)): State<(Api, Arc<Needs>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match identify(&api, &request) {
        Ok(caller) if caller.role >= needs.role => caller,
        Ok(caller) => return too_little(&caller, &needs),
        Err(refused) => return unknown(refused),
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn identify(api: &Api, request: &Request) -> Result<Caller, Refused> {
    // Every connection puts it there.
    let peer = request.extensions().get::<Peer>().ok_or(Refused::NoToken)?;
    let value =
        |headers: &HeaderMap, name| headers.get(name).map(|value: &HeaderValue| value.as_bytes().to_vec());
    let authorization = value(request.headers(), header::AUTHORIZATION);
    let origin = value(request.headers(), header::ORIGIN);
    let credentials = Credentials {
        address: peer.address.ip(),
        of_cluster: peer.of_cluster,
        authorization: authorization.as_deref(),
        origin: origin.as_deref(),
    };
    api.access.identify(credentials, Timestamp::wall())
}

fn unknown(refused: Refused) -> Response {
    let (status, challenge) = match refused {
        Refused::OtherSite => (StatusCode::FORBIDDEN, None),
        Refused::NoToken | Refused::OtherScheme => {
            (StatusCode::UNAUTHORIZED, Some("Bearer realm=\"thalweg\""))
        }
        Refused::UnknownToken | Refused::ExpiredToken => {
            (StatusCode::UNAUTHORIZED, Some("Bearer realm=\"thalweg\", error=\"invalid_token\""))
        }
    };
    let mut answer = ApiError::new(status, refused.code(), refused.to_string()).into_response();
    if let Some(challenge) = challenge {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    answer
}

fn too_little(caller: &Caller, needs: &Needs) -> Response {
    let Needs { method, path, role } = needs;
    let method = method.to_uppercase();
    let text = format!("`{method} {path}` needs the role `{role}`; {} has `{}`", caller.who, caller.role);
    let mut answer = ApiError::new(StatusCode::FORBIDDEN, "role", text).into_response();
    let challenge = match role {
        Role::Read => "Bearer realm=\"thalweg\", error=\"insufficient_scope\", scope=\"read\"",
        Role::Submit => "Bearer realm=\"thalweg\", error=\"insufficient_scope\", scope=\"submit\"",
        Role::Admin => "Bearer realm=\"thalweg\", error=\"insufficient_scope\", scope=\"admin\"",
    };
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    answer
}
