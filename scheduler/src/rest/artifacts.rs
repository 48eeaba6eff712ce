//! Artifacts, in the paths and shapes of Flink's jars: uploaded, listed, removed. `artifact_runs` runs them.

use axum::{
    Json,
    extract::{FromRequest as _, Multipart, Request, State, multipart::MultipartError},
    http::{HeaderMap, StatusCode, header},
};
use serde_json::{Value, json};

use super::{
    Api,
    error::ApiError,
    ids::ArtifactPath,
    limits::{Stalled, too_large},
};
use crate::artifact_store::Artifact;

/// The form's field with the file.
const FIELD: &str = "jarfile";
/// Bytes of a form besides its file.
const FORM_BYTES_MAX: u64 = 16 << 10;

pub async fn list(State(api): State<Api>, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let files: Vec<Value> = api.artifacts.list()?.iter().map(line).collect();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    Ok(Json(json!({ "address": format!("{}://{host}", api.trust.scheme()), "files": files })))
}

fn line(artifact: &Artifact) -> Value {
    let entries = artifact.scripts.iter().map(|script| json!({ "name": script, "description": null }));
    json!({
        "id": artifact.id,
        "name": artifact.name,
        "uploaded": artifact.uploaded.0,
        "size": artifact.bytes,
        "entry": entries.collect::<Vec<_>>(),
    })
}

pub async fn upload(State(api): State<Api>, request: Request) -> Result<Json<Value>, ApiError> {
    let max = api.artifacts.file_bytes_max();
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > max.saturating_add(FORM_BYTES_MAX)) {
        return Err(too_large(max));
    }
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|error| malformed(&error.body_text()))?;
    let Some(mut field) = form.next_field().await.map_err(broken)? else {
        return Err(malformed("the form is empty"));
    };
    let (name, file) = (field.name().map(str::to_owned), field.file_name().map(str::to_owned));
    let (Some(FIELD), Some(file)) = (name.as_deref(), file) else {
        return Err(malformed(&format!("the form's first field is `{}`", name.unwrap_or_default())));
    };
    let mut upload = api.artifacts.begin(&file).await?;
    while let Some(bytes) = field.chunk().await.map_err(broken)? {
        upload.write(&bytes).await?;
    }
    drop(field);
    if form.next_field().await.map_err(broken)?.is_some() {
        return Err(malformed("the form has more than one field"));
    }
    let artifact = upload.finish().await?;
    tracing::info!(id = artifact.id, bytes = artifact.bytes, "took an artifact");
    Ok(Json(json!({ "filename": artifact.id, "status": "success" })))
}

fn malformed(found: &str) -> ApiError {
    let text = format!("expected `multipart/form-data` with one file in the field `{FIELD}`: {found}");
    ApiError::bad_request("malformed-form", text)
}

fn broken(error: MultipartError) -> ApiError {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
        if let Some(stalled) = cause.downcast_ref::<Stalled>() {
            return ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow-body", stalled.to_string());
        }
    }
    malformed(&error.body_text())
}

pub async fn remove(State(api): State<Api>, ArtifactPath(id): ArtifactPath) -> Result<Json<Value>, ApiError> {
    api.artifacts.remove(&id).await?;
    tracing::info!(id, "removed an artifact");
    Ok(Json(json!({})))
}
