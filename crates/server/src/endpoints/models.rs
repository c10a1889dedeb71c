//! `/v1/models`: the one model there is.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::{Answer, Endpoint};
use crate::app::App;
use crate::error::Refusal;

pub const LIST: Endpoint = Endpoint {
    path: "/v1/models",
    method: "get",
    summary: "The models there are",
    request: None,
    answer: Answer::JSON,
    route: || get(async |State(app): State<Arc<App>>| Json(json!({ "object": "list", "data": [model(&app)] }))),
};

pub const ONE: Endpoint = Endpoint {
    path: "/v1/models/{model}",
    method: "get",
    summary: "What is known of a model",
    request: None,
    answer: Answer::JSON,
    route: || get(one),
};

async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    app.check_model(Some(&name))?;
    Ok(Json(model(&app)))
}

fn model(app: &App) -> Value {
    json!({ "id": app.settings.model, "object": "model", "created": app.started, "owned_by": "sterna" })
}
