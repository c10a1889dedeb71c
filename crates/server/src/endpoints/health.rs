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
    Endpoint::get("/health", "Whether the server runs", || get(async || Json(json!({ "status": "ok" })))),
    Endpoint::get("/ready", "Whether a request would be accepted now", || get(ready)),
    Endpoint::get("/metrics", "Metrics for Prometheus", || get(metrics)).media(OPEN_METRICS),
];

async fn ready(State(app): State<Arc<App>>) -> Response {
    let free = app.metrics.waiting() < app.settings.queue as i64;
    let status = if free { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "status": if free { "ready" } else { "full" } }))).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], app.metrics.text()).into_response()
}
