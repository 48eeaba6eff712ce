//! Scripts of artifacts: run, or only planned. What Flink's clients send with a jar is taken where it has a meaning for a script.

use axum::{
    Json,
    body::Bytes,
    extract::{Extension, Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use thalweg_graph::{JobId, Options, explain, options};

use super::{Api, access::Started, error::ApiError, ids::ArtifactPath, parameters};
use crate::{
    dispatcher::{Error, ScriptRequest},
    planner::StatementOutcome,
};

/// What is asked for, in the query string or the body; the body wins.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Body {
    entry_class: Option<String>,
    program_args: Option<String>,
    program_args_list: Option<Vec<String>>,
    parallelism: Option<u32>,
    job_id: Option<String>,
    savepoint_path: Option<String>,
    allow_non_restored_state: Option<bool>,
    claim_mode: Option<String>,
    restore_mode: Option<String>,
    flink_configuration: Options,
    idempotency_key: Option<String>,
}

/// The same in the query string, where lists are text.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Parameters {
    #[serde(alias = "entry-class")]
    entry_class: Option<String>,
    #[serde(alias = "program-args", alias = "programArg", alias = "programArgsList")]
    program_args: Option<String>,
    parallelism: Option<u32>,
    job_id: Option<String>,
    savepoint_path: Option<String>,
    allow_non_restored_state: Option<bool>,
    claim_mode: Option<String>,
    restore_mode: Option<String>,
}

pub async fn run(
    State(api): State<Api>,
    ArtifactPath(id): ArtifactPath,
    query: Result<Query<Parameters>, QueryRejection>,
    body: Bytes,
) -> Result<(Extension<Started>, Json<Value>), ApiError> {
    let request =
        script_request(&api, &id, parameters::query(query)?, parameters::optional_body(&body)?).await?;
    let accepted = api.dispatcher.submit_script(request).await?;
    let started = Extension(Started::of(&accepted));
    Ok((started, Json(json!({ "jobid": accepted.jobid, "jobs": accepted.jobs }))))
}

/// Runs what comes before the first statement that makes a job, in a session of its own that nothing comes of.
pub async fn plan(
    State(api): State<Api>,
    ArtifactPath(id): ArtifactPath,
    query: Result<Query<Parameters>, QueryRejection>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request =
        script_request(&api, &id, parameters::query(query)?, parameters::optional_body(&body)?).await?;
    let options = request.session_options(&api.options).map_err(Error::from)?;
    let slots = api.dispatcher.overview().await?.slots_total;
    let planner = api.planner.clone();
    // Planning a large script takes its time, and a panic must not take the connection with it.
    let runtime = tokio::runtime::Handle::current();
    let planning = tokio::task::spawn_blocking(move || {
        let mut script = planner.open(&request.script, &options, slots)?;
        runtime.block_on(async move {
            for index in 0..script.statements().len() {
                if let StatementOutcome::Job(graph) = script.run(index, JobId(rand::random())).await? {
                    return Ok(Some(explain::json(&graph)));
                }
            }
            Ok(None)
        })
    });
    let planned = planning.await.map_err(|error| {
        let text = format!("the script could not be planned: {error}");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
    })?;
    match planned.map_err(Error::Sql)? {
        Some(plan) => Ok(Json(json!({ "plan": plan }))),
        None => Err(ApiError::bad_request("no-job", "no statement of the script makes a job")),
    }
}

async fn script_request(
    api: &Api,
    id: &str,
    query: Parameters,
    body: Body,
) -> Result<ScriptRequest, ApiError> {
    let unsupported = |field: &str, why: &str| {
        ApiError::bad_request("unsupported-field", format!("`{field}` has no meaning for a script: {why}"))
    };
    if body.job_id.or(query.job_id).is_some() {
        return Err(unsupported("jobId", "each of its statements is a job, and the answer names them"));
    }
    for (field, mode) in [
        ("claimMode", body.claim_mode.or(query.claim_mode)),
        ("restoreMode", body.restore_mode.or(query.restore_mode)),
    ] {
        if mode.is_some_and(|mode| mode != "NO_CLAIM") {
            return Err(unsupported(field, "a savepoint stays with its owner, which is `NO_CLAIM`"));
        }
    }
    let mut arguments = body.program_args_list.unwrap_or_default();
    let text = body.program_args.or(query.program_args).unwrap_or_default();
    arguments.extend(text.split([' ', ',']).filter(|part| !part.is_empty()).map(str::to_owned));
    let wanted = match (body.entry_class.or(query.entry_class), arguments.as_slice()) {
        (entry, []) => entry,
        (None, [script]) => Some(script.clone()),
        _ => {
            let why = "name the script by `entryClass`, and set what it is to know by `flinkConfiguration`";
            return Err(unsupported("programArgs", why));
        }
    };
    let script = api.artifacts.script(id, wanted.as_deref()).await?;
    let mut configuration = body.flink_configuration;
    let mut set = |name: &str, value: String| configuration.0.insert(name.to_owned(), value);
    if let Some(path) = body.savepoint_path.or(query.savepoint_path) {
        set(options::RECOVERY_PATH.name, path);
    }
    if let Some(ignore) = body.allow_non_restored_state.or(query.allow_non_restored_state) {
        set(options::RECOVERY_IGNORE_UNCLAIMED.name, ignore.to_string());
    }
    Ok(ScriptRequest {
        script,
        name: None,
        configuration,
        parallelism: body.parallelism.or(query.parallelism),
        idempotency_key: body.idempotency_key,
    })
}
