//! Endpoints for programs that watch the server.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::Endpoint;
use crate::app::App;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::get("/health", "Whether the server and its engines run", || get(health)),
    Endpoint::get("/ready", "Whether a request would be accepted now", || get(ready)),
    Endpoint::get("/metrics", "Metrics for Prometheus", || get(metrics)).media(&[OPEN_METRICS]),
];

async fn health(State(app): State<Arc<App>>) -> Response {
    if app.models.health().0 { status(StatusCode::OK, "ok") } else { status(StatusCode::SERVICE_UNAVAILABLE, "down") }
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    match (app.models.health().0, app.metrics.waiting() < app.settings.queue as i64) {
        (true, true) => status(StatusCode::OK, "ready"),
        (true, false) => status(StatusCode::SERVICE_UNAVAILABLE, "full"),
        (false, _) => status(StatusCode::SERVICE_UNAVAILABLE, "down"),
    }
}

fn status(code: StatusCode, status: &str) -> Response {
    (code, Json(json!({ "status": status }))).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], app.metrics.text(&app.models)).into_response()
}
