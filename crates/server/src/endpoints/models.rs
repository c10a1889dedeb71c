//! `/v1/models`: the served models, in memory or not.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::Endpoint;
use crate::app::App;
use crate::description::Description;
use crate::error::ApiError;

pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::get("/v1/models", "Lists the served models", || get(list)),
    Endpoint::get("/v1/models/{*model}", "Describes a model", || get(one)),
];

async fn list(State(app): State<Arc<App>>) -> Json<Value> {
    let data: Vec<Value> = app.models.all().map(|description| model(&app, description)).collect();
    Json(json!({ "object": "list", "data": data }))
}

async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let description = app.models.description(Some(&name))?;
    Ok(Json(model(&app, &description)))
}

fn model(app: &App, description: &Description) -> Value {
    json!({ "id": description.name, "object": "model", "created": app.started, "owned_by": "sterna" })
}
