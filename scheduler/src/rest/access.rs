//! Lets a call through to its operation if its caller may do that.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use thalweg_graph::JobId;

use super::{Api, error::ApiError, leader, opening::Peer};
use crate::{
    access::{Caller, Refused, Role, login::Credentials},
    audit::Entry,
    clock::Timestamp,
    dispatcher::ScriptAccepted,
    quorum::QuorumMember,
};

/// What a member says of a token that it does not know, though others may.
const UNSURE: &str =
    "this JobManager has just started or does not hear its leader, and may not know the token yet; ask again";

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

/// The jobs that a call has started: an extension of its answer.
#[derive(Debug, Clone)]
pub struct Started(Vec<JobId>);

impl Started {
    /// By an accepted script.
    pub fn of(accepted: &ScriptAccepted) -> Self {
        Self(accepted.jobs.iter().map(|job| job.jobid).collect())
    }
}

/// Lets a call through, with its [`Caller`] as an extension, or refuses it. What changes something, or was refused, is written down.
pub async fn check(
    State((api, needs)): State<(Api, Arc<Needs>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let called = Called::by(&request);
    // Looked at before the tokens are: it may know them a moment later.
    let knows_tokens = api.quorum.as_ref().is_none_or(QuorumMember::is_in_step);
    let caller = match identify(&api, &request) {
        Ok(caller) if caller.role >= needs.role => caller,
        Ok(caller) => {
            let answer = too_little(&caller, &needs);
            called.note(&api, Some(&caller), &answer);
            return answer;
        }
        Err(refused) => {
            let answer = match refused {
                Refused::UnknownToken if !knows_tokens => leader::later(UNSURE),
                refused => unknown(refused),
            };
            called.note(&api, None, &answer);
            return answer;
        }
    };
    request.extensions_mut().insert(caller.clone());
    if needs.method == "get" || api.audit.is_none() {
        return next.run(request).await;
    }
    // In a task of its own: a client that leaves meanwhile does not leave a change behind that nobody has written down.
    let carried_out = tokio::spawn(async move {
        let answer = next.run(request).await;
        // Nothing was done here; the leader will write it down.
        if answer.status() != StatusCode::TEMPORARY_REDIRECT {
            called.note(&api, Some(&caller), &answer);
        }
        answer
    });
    carried_out.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a call panicked");
        let text = "the call could not be carried out";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text).into_response()
    })
}

/// What the audit log says of a call, without who made it and what came of it.
pub(super) struct Called {
    from: Option<SocketAddr>,
    method: Method,
    /// Without `/v1`, which stands for the same.
    path: String,
}

impl Called {
    pub(super) fn by(request: &Request) -> Self {
        let from = request.extensions().get::<Peer>().map(|peer| peer.address);
        Self { from, method: request.method().clone(), path: request.uri().path().to_owned() }
    }

    pub(super) fn note(&self, api: &Api, caller: Option<&Caller>, answer: &Response) {
        let (Some(audit), Some(from)) = (&api.audit, self.from) else { return };
        let started = answer.extensions().get::<Started>().map(|Started(jobs)| jobs.clone());
        let named = || self.path.split('/').filter_map(|part| part.parse().ok()).take(1).collect();
        audit.note(&Entry {
            who: caller.map(|caller| caller.who.to_string()),
            from,
            method: self.method.as_str(),
            path: &self.path,
            jobs: started.unwrap_or_else(named),
            status: answer.status().as_u16(),
        });
    }
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
