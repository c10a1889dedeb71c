//! What can be asked for. A new endpoint is a file here and a line in `OURS`.

mod chat;
mod completions;
mod health;
mod models;
mod ollama;
mod page;
mod responses;
mod tokens;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::MethodRouter;
use axum::{Json, Router};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::access;
use crate::app::App;
use crate::error::Refusal;
use crate::sampling::Drawing;

/// Something that can be asked for.
pub struct Endpoint {
    /// Its path, with a `{name}` for what differs from request to request.
    pub path: &'static str,
    /// "get" or "post".
    pub method: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The body that it takes, if it takes one.
    pub request: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// What it answers.
    pub answer: Answer,
    route: fn() -> MethodRouter<Arc<App>>,
}

/// What an endpoint answers.
pub struct Answer {
    /// "application/json", ….
    pub media: &'static str,
    /// Whether it also answers with events while they come, if the request asks for that: their media type.
    pub events: Option<&'static str>,
}

impl Answer {
    /// One JSON object.
    pub const JSON: Self = Self { media: "application/json", events: None };

    /// The same, or events of this media type while they come.
    pub const fn or_events(media: &'static str) -> Self {
        Self { events: Some(media), ..Self::JSON }
    }
}

/// All of them but Ollama's, which have a list of their own.
static OURS: &[Endpoint] = &[
    chat::ENDPOINT,
    completions::ENDPOINT,
    responses::ENDPOINT,
    models::LIST,
    models::ONE,
    tokens::TOKENIZE,
    tokens::DETOKENIZE,
    health::HEALTH,
    health::READY,
    health::METRICS,
];

/// All of them.
pub fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    OURS.iter().chain(ollama::ENDPOINTS)
}

/// The routes of all endpoints, and what stands before them.
pub fn router(app: &Arc<App>) -> Router {
    let routes = |endpoints: &'static [Endpoint]| {
        endpoints.iter().fold(Router::new(), |router, each| router.route(each.path, (each.route)()))
    };
    routes(OURS)
        .merge(routes(ollama::ENDPOINTS).layer(middleware::map_response(ollama::say_errors)))
        .route("/openapi.json", axum::routing::get(async || Json(document())))
        .merge(page::routes())
        .fallback(async || Refusal::status(StatusCode::NOT_FOUND, "nothing is here; /openapi.json says what there is"))
        .method_not_allowed_fallback(async || {
            let message = "this path takes another method; /openapi.json says which";
            Refusal::status(StatusCode::METHOD_NOT_ALLOWED, message).into_response()
        })
        .layer(DefaultBodyLimit::max(app.settings.body_bytes))
        .layer(middleware::from_fn_with_state(app.clone(), access::check))
        .with_state(app.clone())
}

/// What the server takes and answers, as OpenAPI 3.1 describes it.
pub fn document() -> Value {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths = Map::new();
    for endpoint in endpoints() {
        let named = endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let parameters =
            named.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        let mut operation =
            json!({ "summary": endpoint.summary, "parameters": parameters.collect::<Value>(), "responses": {} });
        if let Some(request) = endpoint.request {
            let schema = request(&mut generator);
            operation["requestBody"] =
                json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        }
        let mut content = json!({ endpoint.answer.media: {} });
        if let Some(events) = endpoint.answer.events {
            content[events] = json!({});
        }
        operation["responses"]["200"] = json!({ "description": "The answer", "content": content });
        let refusal = json!({ "description": "What is wrong", "content": { "application/json": {} } });
        operation["responses"]["default"] = refusal;
        paths.entry(endpoint.path).or_insert(json!({}))[endpoint.method] = operation;
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Sterna", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas, "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } } },
    })
}

/// The schema of a body that has the fields of `T`, and those that say how tokens are drawn.
fn with_drawing<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    let drawing = Drawing::json_schema(generator);
    if let (Some(Value::Object(fields)), Some(Value::Object(more))) =
        (schema.get_mut("properties"), drawing.get("properties"))
    {
        fields.extend(more.clone());
    }
    schema
}
