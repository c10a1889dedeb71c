//! Descriptions of the models and the server: `/api/tags`, `/api/show`, `/api/ps` and `/api/version`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sterna::text::calendar;
use tokio::time::Instant;

use crate::app::{self, App};
use crate::body::Body;
use crate::description::Description;
use crate::error::ApiError;
use crate::residents::Listed;

/// The model to describe.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShowRequest {
    /// Name of the model. Default: the default model.
    model: Option<String>,
    /// Older name of `model`, used if that is left out.
    name: Option<String>,
}

/// The entry of a list of models.
fn entry(app: &App, model: &Description) -> Value {
    json!({
        "name": model.name,
        "model": model.name,
        "modified_at": modified_at(app),
        "size": model.weights,
        "digest": digest(model),
        "details": details(model),
    })
}

/// The models count as modified when the server started.
fn modified_at(app: &App) -> String {
    time(app.started)
}

fn time(unix: u64) -> String {
    calendar::at(unix, "%Y-%m-%dT%H:%M:%SZ").unwrap_or_default()
}

/// The number of weights.
fn parameters(model: &Description) -> usize {
    model.config.architecture.tensors(&model.config).iter().map(|slot| slot.kind.weights()).sum()
}

/// 64 hexadecimal digits that differ between models: a hash of the model's name and dimensions. Clients show the first
/// twelve, and compare them.
fn digest(model: &Description) -> String {
    let described = format!("{:?}", model.config);
    let part = |part: u8| {
        let mut hasher = DefaultHasher::new();
        (part, &model.name, &described, model.weights).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    (0..4).map(part).collect()
}

fn details(model: &Description) -> Value {
    let family = model.config.architecture.name;
    let weights = parameters(model) as f64;
    let size = if weights < 1e9 { format!("{:.1}M", weights / 1e6) } else { format!("{:.1}B", weights / 1e9) };
    json!({
        "parent_model": "",
        // Without the version, as in "gguf v3".
        "format": model.format.and_then(|format| format.split(' ').next()),
        "family": family,
        "families": [family],
        "parameter_size": size,
        "quantization_level": "ternary",
    })
}

pub async fn tags(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({ "models": app.models.all().map(|model| entry(&app, model)).collect::<Vec<_>>() }))
}

pub async fn ps(State(app): State<Arc<App>>) -> Json<Value> {
    let resident = |Listed { description, expires, .. }: Listed| {
        let mut entry = entry(&app, &description);
        entry["size"] = description.memory.into();
        entry["expires_at"] = match expires {
            Some(at) => time(app::now() + at.saturating_duration_since(Instant::now()).as_secs()).into(),
            None => "9999-12-31T23:59:59Z".into(),
        };
        entry["size_vram"] = 0.into();
        entry["context_length"] = description.context.into();
        entry
    };
    Json(json!({ "models": app.models.listed().into_iter().map(resident).collect::<Vec<_>>() }))
}

pub async fn show(State(app): State<Arc<App>>, Body(request): Body<ShowRequest>) -> Result<Json<Value>, ApiError> {
    let name = request.model.filter(|model| !model.is_empty()).or(request.name);
    let model = app.models.description(name.as_deref())?;
    let config = &model.config;
    let architecture = config.architecture.name;
    let mut info = Map::from_iter([
        ("general.architecture".to_owned(), architecture.into()),
        ("general.parameter_count".to_owned(), parameters(&model).into()),
    ]);
    for (key, value) in [
        ("context_length", model.context),
        ("embedding_length", config.hidden),
        ("block_count", config.layers),
        ("feed_forward_length", config.intermediate),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
        ("vocab_size", config.vocab),
    ] {
        info.insert(format!("{architecture}.{key}"), value.into());
    }
    Ok(Json(json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": details(&model),
        "model_info": info,
        "modified_at": modified_at(&app),
        "capabilities": match (config.architecture.head, model.chats) {
            (false, _) => json!(["embedding"]),
            (true, true) => json!(["completion", "tools"]),
            (true, false) => json!(["completion"]),
        },
    })))
}

/// The version of Ollama's API that is spoken here: clients refuse older ones.
const API: &str = "0.14.0";

pub async fn version() -> Json<Value> {
    Json(json!({ "version": API }))
}
