//! REST: Flink's paths and shapes, and ours for SQL scripts. Every path is there with and without `/v1`.
//!
//! `routes::ROUTES` is the list of what is served; the router and the description at `/openapi.json` are both made from it. Every call goes
//! through `limits`, every connection through `serve`.

mod error;
mod ids;
mod parameters;
mod leader;
pub(crate) mod routes;
pub(crate) mod limits;
pub mod serve;
mod openapi;
mod cluster;
mod job_manager;
mod jobs;
mod outcome;
mod metrics;
mod aggregated;
mod accumulators;
mod checkpoints;
mod checkpoint_details;
mod savepoints;
mod rescale;
pub(crate) mod disposal;
mod vertices;
mod subtasks;
mod workers;
mod artifacts;
mod artifact_runs;
mod sql;
mod prometheus;
mod tokens;
mod quorum;
mod internal;
mod opening;
mod access;
mod worker_session;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::StatusCode,
    middleware,
    routing::{MethodFilter, MethodRouter, get, on},
};
use thalweg_graph::Options;
use thalweg_rpc::Trust;
use tokio_util::sync::CancellationToken;

use self::{
    access::Needs,
    disposal::Disposals,
    error::ApiError,
    limits::Times,
    routes::{Answer, Member, ROUTES, Route},
};
use crate::{
    access::{Access, Role},
    artifact_store::ArtifactStore,
    audit::AuditLog,
    checkpoint_storage::CheckpointStorage,
    dispatcher::DispatcherHandle,
    log_ring::LogRing,
    planner::Planner,
    quorum::QuorumMember,
    worker_gateway::WorkerGateway,
};

/// What the handlers work with.
#[derive(Clone)]
pub struct Api {
    /// Jobs and workers.
    pub dispatcher: DispatcherHandle,
    /// Its place in a quorum.
    pub quorum: Option<QuorumMember>,
    /// What the cluster's processes prove themselves by.
    pub trust: Trust,
    /// How callers are told apart.
    pub access: Arc<Access>,
    /// Where it is written down who has changed what.
    pub audit: Option<Arc<AuditLog>>,
    /// The workers' sessions.
    pub gateway: WorkerGateway,
    /// The JobManager's options.
    pub options: Arc<Options>,
    /// Plans what is not to run.
    pub planner: Arc<dyn Planner>,
    /// Removes savepoints.
    pub storage: Arc<dyn CheckpointStorage>,
    /// How those removals go.
    pub disposals: Disposals,
    /// Uploaded scripts.
    pub artifacts: Arc<ArtifactStore>,
    /// The newest lines of the log.
    pub log: LogRing,
    /// Ends the JobManager.
    pub stop: CancellationToken,
}

/// Everything that the control port serves.
pub fn routes(api: Api, times: Times) -> Router {
    let mut public = Router::new();
    for route in ROUTES {
        public = public.route(route.path, handler(route, &api, times));
    }
    let metrics = Needs { method: "get", path: "/metrics", role: Role::Read };
    let measured =
        get(prometheus::serve).route_layer(middleware::from_fn_with_state(api.clone(), leader::only));
    Router::new()
        .merge(public.clone())
        .nest("/v1", public)
        .route(metrics.path, guarded(measured, &api, metrics))
        .merge(internal::calls(&api, times))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        // Each operation has its own.
        .layer(DefaultBodyLimit::disable())
        .with_state(api)
}

/// An operation behind all that stands before it: who calls, whether it is answered here, its limits.
fn handler(route: &'static Route, api: &Api, times: Times) -> MethodRouter<Api> {
    let handler = match route.answer {
        Answer::By(handler) => handler(),
        Answer::Refusal(why) => on(filter(route.method), async move || ApiError::unsupported(route, why)),
    };
    let mut handler =
        handler.route_layer(middleware::from_fn_with_state(Arc::new((route, times)), limits::hold));
    if route.by == Member::Leader {
        handler = handler.route_layer(middleware::from_fn_with_state(api.clone(), leader::only));
    }
    let Route { method, path, role, .. } = *route;
    guarded(handler, api, Needs { method, path, role })
}

fn guarded(handler: MethodRouter<Api>, api: &Api, needs: Needs) -> MethodRouter<Api> {
    handler.route_layer(middleware::from_fn_with_state((api.clone(), Arc::new(needs)), access::check))
}

fn filter(method: &str) -> MethodFilter {
    match method {
        "get" => MethodFilter::GET,
        "put" => MethodFilter::PUT,
        "post" => MethodFilter::POST,
        "patch" => MethodFilter::PATCH,
        _ => MethodFilter::DELETE,
    }
}

async fn unknown_path(request: Request) -> ApiError {
    let text = format!("there is nothing at `{}`; `/v1/openapi.json` lists what is", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "unknown-path", text)
}

async fn wrong_method(request: Request) -> ApiError {
    let text = format!("`{}` does not take {}", request.uri().path(), request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", text)
}
