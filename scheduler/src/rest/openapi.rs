//! The description of the REST API, made from the routes and the schemas in `schemas.json`.

use std::sync::LazyLock;

use axum::Json;
use serde_json::{Map, Value, json};

use super::routes::{Answer, BodyLimit, ROUTES, Route};

static DESCRIPTION: LazyLock<Value> = LazyLock::new(describe);

pub async fn serve() -> Json<&'static Value> {
    Json(&DESCRIPTION)
}

/// The whole description.
pub(super) fn describe() -> Value {
    let schemas: Value =
        serde_json::from_str(include_str!("schemas.json")).expect("a test reads the schemas");
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Thalweg JobManager", "version": "v1", "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
        "servers": [{ "url": "/v1" }, { "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn operation(route: &Route) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| parameter(name, "path"));
    let in_query = route.parameters.iter().map(|name| parameter(name, "query"));
    let content = match route.schema {
        "" => json!({ route.media: {} }),
        name => json!({ route.media: { "schema": reference(name) } }),
    };
    let outcome = match route.answer {
        Answer::By(_) => "The call succeeded.",
        Answer::Refusal(why) => why,
    };
    let refusal = json!({
        "description": "The call was refused.",
        "content": { "application/json": { "schema": reference("Error") } },
    });
    let mut operation = json!({
        "summary": route.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": {
            route.status.to_string(): { "description": outcome, "content": content },
            "default": refusal,
        },
    });
    if !route.body.is_empty() {
        let media = match route.body_max {
            BodyLimit::Bytes(_) => "application/json",
            BodyLimit::Upload => "multipart/form-data",
        };
        let content = json!({ media: { "schema": reference(route.body) } });
        let required =
            ["ScriptRequest", "DisposalRequest", "ArtifactUpload", "QuorumMemberAddress", "TokenRequest"]
                .contains(&route.body);
        operation["requestBody"] = json!({ "required": required, "content": content });
    }
    operation
}

fn parameter(name: &str, place: &str) -> Value {
    let schema = if place == "query" && ["token", "maxExceptions", "parallelism"].contains(&name) {
        "integer"
    } else {
        "string"
    };
    json!({ "name": name, "in": place, "required": place == "path", "schema": { "type": schema } })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
