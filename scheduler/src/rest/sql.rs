//! Scripts and the results of their queries.

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Extension, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use thalweg_graph::{JobId, table::Column};

use super::{Api, access::Started, error::ApiError, ids::JobPath, parameters};
use crate::{dispatcher::ScriptRequest, result_store::page::Page};

/// The media type of a result as it is.
const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";

pub async fn submit(
    State(api): State<Api>,
    body: Bytes,
) -> Result<(StatusCode, Extension<Started>, Json<Value>), ApiError> {
    let request: ScriptRequest = parameters::body(&body)?;
    let accepted = api.dispatcher.submit_script(request).await?;
    Ok((StatusCode::ACCEPTED, Extension(Started::of(&accepted)), Json(json!(accepted))))
}

#[derive(Deserialize)]
pub struct ResultQuery {
    token: Option<u64>,
    format: Option<Format>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Arrow,
}

/// Answers when the result is complete: a page, or all of it as an Arrow IPC stream. Of a query without an end a page has what has come,
/// and the stream goes on as it comes.
pub async fn result(
    State(api): State<Api>,
    JobPath(job): JobPath,
    query: Result<Query<ResultQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let ResultQuery { token, format } = parameters::query(query)?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let wants_arrow = match format {
        Some(format) => format == Format::Arrow,
        None => accept.contains(ARROW_STREAM),
    };
    if wants_arrow {
        let bytes = api.dispatcher.result(job).await?;
        return Ok(([(header::CONTENT_TYPE, ARROW_STREAM)], Body::from_stream(bytes)).into_response());
    }
    let token = token.unwrap_or(0);
    let page = api.dispatcher.result_page(job, token).await?;
    let details = api.dispatcher.job(job).await?;
    let body = page_body(job, token, &page, details.result_columns.as_deref());
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The rows are JSON text already: everything else is put around them.
fn page_body(job: JobId, token: u64, page: &Page, columns: Option<&[Column]>) -> String {
    let columns: Vec<Value> = match columns {
        Some(columns) => columns.iter().map(|c| column(&c.name, &c.data_type, c.nullable)).collect(),
        None => {
            let fields = page.schema.fields().iter();
            fields.map(|f| column(f.name(), &f.data_type().to_string(), f.is_nullable())).collect()
        }
    };
    // Of a live result nothing may have come yet.
    let next = if page.rows == "[]" { token } else { token + 1 };
    let (result_type, next) = match page.has_next {
        true => ("PAYLOAD", json!(format!("/v1/sql/jobs/{job}/result?token={next}"))),
        false => ("EOS", Value::Null),
    };
    let (columns, rows) = (Value::Array(columns), &page.rows);
    format!(
        r#"{{"jobID":"{job}","resultType":"{result_type}","isQueryResult":true,"resultKind":"SUCCESS_WITH_CONTENT","columns":{columns},"data":{rows},"nextResultUri":{next}}}"#
    )
}

fn column(name: &str, data_type: &str, nullable: bool) -> Value {
    json!({ "name": name, "logicalType": { "type": data_type, "nullable": nullable }, "comment": null })
}
