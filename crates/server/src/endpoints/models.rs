//! `/v1/models`: the one model there is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use serde_json::{Value, json};

use super::{Answer, Endpoint};
use crate::app::App;

pub const ENDPOINT: Endpoint = Endpoint {
    path: "/v1/models",
    method: "get",
    summary: "The models there are",
    request: None,
    answer: Answer::JSON,
    route: || get(models),
};

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let model = json!({ "id": app.settings.model, "object": "model", "created": app.started, "owned_by": "sterna" });
    Json(json!({ "object": "list", "data": [model] }))
}
