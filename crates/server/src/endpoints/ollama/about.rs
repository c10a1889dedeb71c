//! What there is: `/api/tags`, `/api/show`, `/api/ps` and `/api/version`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sterna::text::calendar;

use crate::app::App;
use crate::body::Body;
use crate::endpoints::{Answer, Endpoint};
use crate::error::Refusal;

pub const TAGS: Endpoint = Endpoint {
    path: "/api/tags",
    method: "get",
    summary: "The models there are",
    request: None,
    answer: Answer::JSON,
    route: || get(tags),
};

pub const SHOW: Endpoint = Endpoint {
    path: "/api/show",
    method: "post",
    summary: "What is known of the model",
    request: Some(|schemas| schemas.subschema_for::<Show>()),
    answer: Answer::JSON,
    route: || post(show),
};

pub const PS: Endpoint = Endpoint {
    path: "/api/ps",
    method: "get",
    summary: "The models in memory",
    request: None,
    answer: Answer::JSON,
    route: || get(ps),
};

pub const VERSION: Endpoint = Endpoint {
    path: "/api/version",
    method: "get",
    summary: "The server's version",
    request: None,
    answer: Answer::JSON,
    route: || get(async || Json(json!({ "version": env!("CARGO_PKG_VERSION") }))),
};

/// Which model.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Show {
    /// The server's model.
    model: Option<String>,
    /// The older name of the same.
    name: Option<String>,
    /// Whether more is said; nothing more is known.
    #[serde(rename = "verbose")]
    _verbose: Option<bool>,
}

/// What stands in every list of models.
fn model(app: &App) -> Value {
    let (name, weights) = (&app.settings.model, app.engine.model().weights());
    json!({ "name": name, "model": name, "size": weights.body_bytes + weights.head_bytes, "details": details(app) })
}

fn details(app: &App) -> Value {
    let config = app.engine.config();
    let family = config.architecture.name;
    let weights = config.architecture.tensors(config).iter().map(|slot| slot.kind.weights()).sum::<usize>() as f64;
    let size = if weights < 1e9 { format!("{:.1}M", weights / 1e6) } else { format!("{:.1}B", weights / 1e9) };
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": family,
        "families": [family],
        "parameter_size": size,
        "quantization_level": "ternary",
    })
}

async fn tags(State(app): State<Arc<App>>) -> Json<Value> {
    let mut model = model(&app);
    model["modified_at"] = calendar::at(app.started, "%Y-%m-%dT%H:%M:%SZ").unwrap_or_default().into();
    Json(json!({ "models": [model] }))
}

async fn ps(State(app): State<Arc<App>>) -> Json<Value> {
    let mut model = model(&app);
    model["expires_at"] = "9999-12-31T23:59:59Z".into();
    model["size_vram"] = 0.into();
    model["context_length"] = app.engine.context().into();
    Json(json!({ "models": [model] }))
}

async fn show(State(app): State<Arc<App>>, Body(request): Body<Show>) -> Result<Json<Value>, Refusal> {
    app.check_model(request.model.or(request.name).as_deref())?;
    let config = app.engine.config();
    let chats = app.engine.template().is_ok();
    Ok(Json(json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": details(&app),
        "model_info": {
            "general.architecture": details(&app)["family"],
            "general.context_length": app.engine.context(),
            "general.embedding_length": config.hidden,
            "general.block_count": config.layers,
        },
        "capabilities": if chats { json!(["completion", "tools"]) } else { json!(["completion"]) },
    })))
}
