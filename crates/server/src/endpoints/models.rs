//! `/v1/models`: the served models, in memory or not.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};
use sterna::text::calendar;

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
    let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
    let (first, last) = (id(data.first()), id(data.last()));
    Json(json!({ "object": "list", "data": data, "has_more": false, "first_id": first, "last_id": last }))
}

async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    let description = app.models.description(Some(&name))?;
    Ok(Json(model(&app, &description)))
}

/// The fields of OpenAI's API, then those of Anthropic's.
fn model(app: &App, description: &Description) -> Value {
    json!({
        "id": description.name,
        "object": "model",
        "created": app.started,
        "owned_by": "sterna",
        "type": "model",
        "display_name": description.name,
        "created_at": calendar::at(app.started, "%Y-%m-%dT%H:%M:%SZ").unwrap_or_default(),
    })
}
