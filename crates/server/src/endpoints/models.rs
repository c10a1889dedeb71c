//! `/v1/models`: the served model.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::Endpoint;
use crate::app::App;
use crate::error::ApiError;

pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::get("/v1/models", "Lists the served model", || get(list)),
    Endpoint::get("/v1/models/{*model}", "Describes a model", || get(one)),
];

async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [model(&app)] }))
}

async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    app.model(Some(&name)).await?;
    Ok(Json(model(&app)))
}

fn model(app: &App) -> Value {
    json!({ "id": app.model.name, "object": "model", "created": app.started, "owned_by": "sterna" })
}
