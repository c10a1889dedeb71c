//! The endpoints. A new one is a file here and a line in `endpoints!`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use futures_util::FutureExt;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::access;
use crate::app::App;
use crate::base_path;
use crate::body::Expected;
use crate::error::ApiError;

mod absent;
mod page;

const JSON_OR_EVENTS: &[&str] = &["application/json", "text/event-stream"];

/// Declares the files of endpoints, each of which has a list `ENDPOINTS`.
macro_rules! endpoints {
    ($($file:ident,)+) => {
        $(mod $file;)+

        static OURS: &[&[Endpoint]] = &[$($file::ENDPOINTS),+];
    };
}

endpoints! {
    chat,
    completions,
    responses,
    messages,
    embeddings,
    models,
    tokens,
    health,
    props,
    ollama,
}

type Route = fn() -> MethodRouter<Arc<App>>;
/// How an API writes an error.
type Shape = fn(&ApiError) -> Value;

/// An operation of the server's API.
pub struct Endpoint {
    /// Its path, with `{name}` for a part that varies.
    path: &'static str,
    /// "get" or "post".
    method: &'static str,
    /// What it does, in one line.
    summary: &'static str,
    /// The schema of the request's body.
    body: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// The media types of its responses.
    media: &'static [&'static str],
    error: Shape,
    route: Route,
}

impl Endpoint {
    /// An operation without a body that answers with JSON.
    const fn get(path: &'static str, summary: &'static str, route: Route) -> Self {
        let media = &["application/json"];
        Self { path, method: "get", summary, body: None, media, error: ApiError::json, route }
    }

    /// An operation with a body of the type `T` that answers with JSON.
    const fn post<T: JsonSchema>(path: &'static str, summary: &'static str, route: Route) -> Self {
        Self { method: "post", body: Some(|schemas| schemas.subschema_for::<T>()), ..Self::get(path, summary, route) }
    }

    /// The same, with these media types of its responses.
    const fn media(self, media: &'static [&'static str]) -> Self {
        Self { media, ..self }
    }

    /// The same, with this shape of its errors.
    const fn errors(self, error: Shape) -> Self {
        Self { error, ..self }
    }
}

/// A route that knows what its body looks like, and whose response names the fields that were ignored.
fn described(app: &Arc<App>, endpoint: &Endpoint) -> MethodRouter<Arc<App>> {
    let (path, app) = (endpoint.path, app.clone());
    let mut inlined =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let schema = Arc::new(endpoint.body.map_or(Value::Null, |body| body(&mut inlined).to_value()));
    (endpoint.route)().layer(middleware::from_fn(move |mut request: Request, next: Next| {
        let (app, expected) = (app.clone(), Arc::new(Expected::new(path, schema.clone(), app.settings.strict)));
        async move {
            request.extensions_mut().insert(expected.clone());
            let mut response = next.run(request).await;
            app.unknown.report(path, &expected.ignored(), response.headers_mut());
            response
        }
    }))
}

/// A route whose panics are errors, and whose errors have the API's shape.
fn guarded<S: Clone + Send + Sync + 'static>(route: MethodRouter<S>, shape: Shape) -> MethodRouter<S> {
    route.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        let response = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        let mut response = response.unwrap_or_else(|_| ApiError::internal().into_response());
        if let Some(error) = response.extensions().get::<ApiError>() {
            *response.body_mut() = Body::from(shape(error).to_string());
        }
        response
    }))
}

/// How the APIs write errors, by the beginnings of their paths without `/v1`. Other APIs write them as OpenAI's.
const SHAPES: [(&str, Shape); 2] = [("/api/", ollama::error), ("/messages", messages::error)];

/// Gives an error the shape of the path's API, also for paths that do not exist, and before an endpoint is reached.
async fn shape_errors(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let shape = SHAPES.iter().find(|(beginning, _)| path.starts_with(beginning));
    let mut response = next.run(request).await;
    if let (Some((_, shape)), Some(error)) = (shape, response.extensions().get::<ApiError>()) {
        *response.body_mut() = Body::from(shape(error).to_string());
    }
    response
}

fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    OURS.iter().copied().flatten()
}

/// The routes of all endpoints below the base path, behind the checks of [`access`].
pub fn router(app: &Arc<App>) -> Router {
    base_path::below(&app.settings.base_path, routes(app))
}

fn routes(app: &Arc<App>) -> Router {
    let base = app.settings.base_path.clone();
    endpoints()
        .fold(Router::new(), |router, endpoint| {
            let route = || guarded(described(app, endpoint), endpoint.error);
            let router = router.route(endpoint.path, route());
            // Clients whose base address lacks `/v1` find the same.
            endpoint.path.strip_prefix("/v1").into_iter().fold(router, |router, path| router.route(path, route()))
        })
        .route("/openapi.json", get(async move || Json(document(&base))))
        .merge(page::routes())
        .merge(absent::routes())
        .fallback(async || ApiError::status(StatusCode::NOT_FOUND, "nothing is here; /openapi.json says what there is"))
        .method_not_allowed_fallback(async || {
            let message = "this path takes another method; /openapi.json says which";
            ApiError::status(StatusCode::METHOD_NOT_ALLOWED, message).into_response()
        })
        .layer(DefaultBodyLimit::max(app.settings.body_bytes))
        .layer(middleware::from_fn_with_state(app.clone(), access::check))
        .layer(middleware::from_fn(shape_errors))
        .with_state(app.clone())
}

/// The description of all endpoints as OpenAPI 3.1.
fn document(base: &str) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths = Map::new();
    for endpoint in endpoints() {
        // A name that may have slashes is a wildcard to the router only.
        paths.entry(endpoint.path.replace("{*", "{")).or_insert(json!({}))[endpoint.method] =
            operation(endpoint, &mut generator);
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Sterna", "version": env!("CARGO_PKG_VERSION") },
        "servers": [{ "url": if base.is_empty() { "/" } else { base } }],
        "paths": paths,
        "components": { "schemas": schemas, "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } } },
    })
}

fn operation(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let names =
        endpoint.path.split('/').filter_map(|part| part.strip_prefix('{')?.trim_start_matches('*').strip_suffix('}'));
    let parameters =
        names.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let mut operation =
        json!({ "summary": endpoint.summary, "parameters": parameters.collect::<Value>(), "responses": {} });
    if let Some(body) = endpoint.body {
        let content = json!({ "application/json": { "schema": body(generator) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    let content: Map<String, Value> = endpoint.media.iter().map(|media| ((*media).into(), json!({}))).collect();
    operation["responses"] = json!({
        "200": { "description": "The answer.", "content": content },
        "default": { "description": "An error, with its cause.", "content": { "application/json": {} } },
    });
    operation
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_in_the_shape_of_the_api() {
        let route =
            guarded(get(async || -> String { panic!("on purpose") }), |error| json!({ "fault": error.message }));
        let request = Request::get("/").body(Body::empty()).expect("a request");
        let Ok(response) = Router::new().route("/", route).oneshot(request).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        assert_eq!(body, json!({ "fault": ApiError::internal().message }).to_string());
    }
}
