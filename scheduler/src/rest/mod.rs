//! REST: Flink's paths and shapes, and ours for SQL scripts. Every path is there with and without `/v1`.
//!
//! `ROUTES` is the list of what is served in JSON; the router and the description at `/openapi.json` are both made from it.

mod checkpoints;
mod cluster;
mod error;
mod ids;
mod jobs;
mod leader;
mod metrics;
mod openapi;
mod prometheus;
mod quorum;
mod savepoints;
mod sql;
mod vertices;
mod worker_session;
mod workers;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, patch, post},
};
use thalweg_graph::Options;
use thalweg_rpc::WORKER_SESSION_PATH;

use self::error::ApiError;
use crate::{dispatcher::DispatcherHandle, quorum::QuorumMember, worker_gateway::WorkerGateway};

/// Largest body: the longest script that is taken, with its escapes, and what goes with it.
const BODY_BYTES_MAX: usize = 40 << 20;
/// Time for the beginning of an answer. Reading a result may wait for its query.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// What the handlers work with.
#[derive(Clone)]
pub struct Api {
    dispatcher: DispatcherHandle,
    quorum: Option<QuorumMember>,
    gateway: WorkerGateway,
    options: Arc<Options>,
}

/// One operation.
struct Route {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// Query parameters.
    parameters: &'static [&'static str],
    /// The status of a good answer.
    status: u16,
    /// The schema of the body; empty where none is taken.
    body: &'static str,
    /// The schema of a good answer; empty where it is no JSON.
    schema: &'static str,
    handler: fn() -> MethodRouter<Api>,
}

const fn route(
    method: &'static str,
    path: &'static str,
    schema: &'static str,
    summary: &'static str,
    handler: fn() -> MethodRouter<Api>,
) -> Route {
    Route { method, path, summary, parameters: &[], status: 200, body: "", schema, handler }
}

#[rustfmt::skip]
const ROUTES: &[Route] = &[
    route("get", "/overview", "Overview", "Returns the cluster in a line.", || get(cluster::overview)),
    route("get", "/config", "Config", "Returns what a dashboard needs to know.", || get(cluster::config)),
    route("get", "/jobmanager/config", "JobManagerConfig", "Returns the JobManager's options.", || get(cluster::job_manager_config)),
    route("get", "/jobs", "Jobs", "Lists the jobs' ids and states.", || get(jobs::list)),
    route("get", "/jobs/overview", "JobsOverview", "Lists the jobs, a line each.", || get(jobs::overview)),
    route("get", "/jobs/{jobid}", "Job", "Returns all about a job.", || get(jobs::details)),
    Route { parameters: &["mode"], status: 202, ..route("patch", "/jobs/{jobid}", "Empty", "Cancels a job.", || patch(jobs::cancel)) },
    route("get", "/jobs/{jobid}/status", "JobStatus", "Returns a job's state.", || get(jobs::status)),
    route("get", "/jobs/{jobid}/plan", "JobPlan", "Returns a job's plan.", || get(jobs::plan)),
    route("get", "/jobs/{jobid}/config", "JobConfig", "Returns a job's options.", || get(jobs::config)),
    Route { parameters: &["maxExceptions"], ..route("get", "/jobs/{jobid}/exceptions", "JobExceptions", "Returns the failures that a job met.", || get(jobs::exceptions)) },
    Route { parameters: &["timeout"], ..route("get", "/jobs/{jobid}/wait", "JobEnd", "Waits for a job's end.", || get(jobs::wait)) },
    route("get", "/jobs/{jobid}/progress", "", "Streams a job's progress as server-sent events until its end.", || get(jobs::progress)),
    route("get", "/jobs/{jobid}/checkpoints", "Checkpoints", "Returns a stream's checkpoints, the newest first.", || get(checkpoints::list)),
    Route { status: 202, ..route("post", "/jobs/{jobid}/checkpoints", "Triggered", "Takes a checkpoint now.", || post(checkpoints::trigger)) },
    route("get", "/jobs/{jobid}/checkpoints/config", "CheckpointConfig", "Returns how a stream takes checkpoints.", || get(checkpoints::config)),
    route("get", "/jobs/{jobid}/checkpoints/details/{checkpointid}", "Checkpoint", "Returns one of a stream's newest checkpoints.", || get(checkpoints::details)),
    route("get", "/jobs/{jobid}/checkpoints/{triggerid}", "TriggerStatus", "Returns how a checkpoint that was asked for stands.", || get(savepoints::status)),
    Route { status: 202, body: "SavepointRequest", ..route("post", "/jobs/{jobid}/savepoints", "Triggered", "Takes a savepoint.", || post(savepoints::trigger)) },
    route("get", "/jobs/{jobid}/savepoints/{triggerid}", "TriggerStatus", "Returns how a savepoint that was asked for stands.", || get(savepoints::status)),
    Route { status: 202, body: "StopRequest", ..route("post", "/jobs/{jobid}/stop", "Triggered", "Takes a savepoint and ends the job behind it.", || post(savepoints::stop)) },
    route("get", "/jobs/{jobid}/vertices/{vertexid}", "Vertex", "Returns a vertex with its subtasks.", || get(vertices::details)),
    Route { parameters: &["get"], ..route("get", "/jobs/{jobid}/metrics", "Measurements", "Returns what is measured of a job.", || get(metrics::of_job)) },
    route("get", "/jobs/{jobid}/event-time", "EventTime", "Returns how far event time has come in each vertex and what holds it back.", || get(metrics::event_time)),
    Route { parameters: &["get"], ..route("get", "/jobs/{jobid}/vertices/{vertexid}/metrics", "Measurements", "Returns what is measured of a vertex, each subtask by itself.", || get(metrics::of_vertex)) },
    Route { parameters: &["get", "agg", "subtasks"], ..route("get", "/jobs/{jobid}/vertices/{vertexid}/subtasks/metrics", "AggregatedMetrics", "Returns what is measured of a vertex, its subtasks together.", || get(metrics::of_subtasks)) },
    Route { parameters: &["get"], ..route("get", "/jobs/{jobid}/vertices/{vertexid}/subtasks/{subtaskindex}/metrics", "Measurements", "Returns what is measured of a subtask.", || get(metrics::of_subtask)) },
    route("get", "/jobs/{jobid}/vertices/{vertexid}/watermarks", "Measurements", "Returns the watermarks of a vertex's subtasks.", || get(metrics::watermarks)),
    route("get", "/jobs/{jobid}/vertices/{vertexid}/backpressure", "Backpressure", "Returns how much of their time a vertex's subtasks wait for their consumers.", || get(metrics::backpressure)),
    route("get", "/taskmanagers", "Workers", "Lists the workers.", || get(workers::list)),
    route("get", "/taskmanagers/{taskmanagerid}", "Worker", "Returns one worker.", || get(workers::details)),
    Route { status: 202, body: "ScriptRequest", ..route("post", "/sql/jobs", "ScriptAccepted", "Runs a SQL script.", || post(sql::submit)) },
    Route { parameters: &["token", "format"], ..route("get", "/sql/jobs/{jobid}/result", "ResultPage", "Returns a page of a query's rows, or all as an Arrow IPC stream.", || get(sql::result)) },
    route("get", "/openapi.json", "Description", "Returns this description.", || get(openapi::serve)),
];

/// Everything that the control port serves.
pub fn routes(
    dispatcher: DispatcherHandle,
    quorum: Option<QuorumMember>,
    gateway: WorkerGateway,
    options: Arc<Options>,
) -> Router {
    let mut public = Router::new();
    for route in ROUTES {
        public = public.route(route.path, (route.handler)());
    }
    let api = Api { dispatcher, quorum, gateway, options };
    let of_leader = middleware::from_fn_with_state(api.clone(), leader::only);
    Router::new()
        .merge(public.clone())
        .nest("/v1", public)
        .layer(middleware::from_fn(limit_time))
        .route("/metrics", get(prometheus::serve))
        .route(WORKER_SESSION_PATH, get(worker_session::open))
        .layer(of_leader)
        .merge(quorum::routes())
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

async fn limit_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await;
    answer.unwrap_or_else(|_| {
        let text = format!("no answer within {} s; ask again", ANSWER_TIMEOUT.as_secs());
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", text).into_response()
    })
}

async fn unknown_path(request: Request) -> ApiError {
    let text = format!("there is nothing at `{}`; `/v1/openapi.json` lists what is", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "unknown-path", text)
}

async fn wrong_method(request: Request) -> ApiError {
    let text = format!("`{}` does not take {}", request.uri().path(), request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", text)
}
