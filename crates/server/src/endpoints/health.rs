//! What programs that watch the server ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::{Answer, Endpoint};
use crate::app::App;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub const HEALTH: Endpoint = Endpoint {
    path: "/health",
    method: "get",
    summary: "Whether the server runs",
    request: None,
    answer: Answer::JSON,
    route: || get(async || Json(json!({ "status": "ok" }))),
};

pub const READY: Endpoint = Endpoint {
    path: "/ready",
    method: "get",
    summary: "Whether a request would be let in now",
    request: None,
    answer: Answer::JSON,
    route: || get(ready),
};

pub const METRICS: Endpoint = Endpoint {
    path: "/metrics",
    method: "get",
    summary: "Counters for Prometheus",
    request: None,
    answer: Answer { media: OPEN_METRICS, events: None },
    route: || get(metrics),
};

async fn ready(State(app): State<Arc<App>>) -> Response {
    let free = app.metrics.waiting() < app.settings.queue as i64;
    let status = if free { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "status": if free { "ready" } else { "full" } }))).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], app.metrics.text()).into_response()
}
