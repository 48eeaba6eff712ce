//! The JobManager's own process: options, environment, log, threads, what is measured of it.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use thalweg_graph::{Options, secret::is_secret};

use super::{
    Api,
    error::ApiError,
    ids::{JobPath, LogPath},
    metrics::{self, Wanted},
    parameters,
};

/// The only log that there is.
const LOG: &str = "jobmanager.log";

pub async fn config(State(api): State<Api>) -> Json<Value> {
    Json(shown(&api.options).map(|(key, value)| json!({ "key": key, "value": value })).collect())
}

/// Options as they may be shown: secrets stay where they are.
pub fn shown(options: &Options) -> impl Iterator<Item = (&str, &str)> {
    options.0.iter().map(|(key, value)| (key.as_str(), if is_secret(key) { "******" } else { value }))
}

pub async fn config_of_job(state: State<Api>, JobPath(job): JobPath) -> Result<Json<Value>, ApiError> {
    state.dispatcher.job(job).await?;
    Ok(config(state).await)
}

/// There is no JVM and no class path; arguments may hold secrets and are not told.
pub async fn environment() -> Json<Value> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Json(json!({
        "jvm": null,
        "classpath": [],
        "process": {
            "version": env!("CARGO_PKG_VERSION"),
            "build": thalweg_graph::BUILD_ID,
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
            "pid": std::process::id(),
            "cores": cores,
        },
    }))
}

pub async fn environment_of_job(
    State(api): State<Api>,
    JobPath(job): JobPath,
) -> Result<Json<Value>, ApiError> {
    api.dispatcher.job(job).await?;
    Ok(environment().await)
}

pub async fn logs(State(api): State<Api>) -> Json<Value> {
    let changed = api.log.changed().map_or(0, |at| at.0);
    Json(json!({ "logs": [{ "name": LOG, "size": api.log.size(), "mtime": changed }] }))
}

pub async fn log(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], api.log.contents()).into_response()
}

pub async fn log_file(state: State<Api>, LogPath(name): LogPath) -> Result<Response, ApiError> {
    if name != LOG {
        let text = format!("there is no log `{name}`: `/jobmanager/logs` lists what is");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown-log", text));
    }
    Ok(log(state).await)
}

pub async fn metrics(
    State(api): State<Api>,
    query: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let wanted = parameters::query(query)?;
    let overview = api.dispatcher.overview().await?;
    let measured = [
        ("numRegisteredTaskManagers", overview.workers),
        ("numRunningJobs", overview.jobs_running),
        ("taskSlotsTotal", overview.slots_total),
        ("taskSlotsAvailable", overview.slots_free),
    ];
    let measured = measured.into_iter().map(|(name, value)| (name.to_owned(), f64::from(value)));
    Ok(metrics::answer(measured, &wanted))
}

/// What the system says of each thread; stacks are not to be had from inside.
pub async fn threads() -> Result<Json<Value>, ApiError> {
    let read = tokio::task::spawn_blocking(read_threads).await;
    match read {
        Ok(Ok(threads)) => Ok(Json(json!({ "threadInfos": threads }))),
        Ok(Err(error)) => Err(no_threads(&error.to_string())),
        Err(error) => Err(no_threads(&error.to_string())),
    }
}

fn no_threads(why: &str) -> ApiError {
    let text = format!("this system does not list its threads below `/proc/self/task`: {why}");
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "unsupported", text)
}

fn read_threads() -> std::io::Result<Vec<Value>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        let folder = entry?.path();
        // One that has ended meanwhile is left out.
        let Ok(status) = std::fs::read_to_string(folder.join("status")) else { continue };
        let value = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.unwrap_or_default().trim()
        };
        let (name, id) = (value("Name"), value("Pid"));
        let text = format!(
            "\"{name}\" Id={id} {}\n\tvoluntary switches: {}, others: {}\n",
            value("State"),
            value("voluntary_ctxt_switches"),
            value("nonvoluntary_ctxt_switches")
        );
        threads.push(json!({ "threadName": name, "stringifiedThreadInfo": text }));
    }
    Ok(threads)
}
