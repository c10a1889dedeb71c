//! `/props` and `/slots`: the server's properties, as programs for llama.cpp's server ask for them.
//!
//! Source: <https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md>.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use serde_json::{Value, json};

use super::Endpoint;
use crate::app::App;
use crate::error::ApiError;

pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::get("/props", "The server's properties, as llama.cpp's server has them", || get(props)),
    Endpoint::get("/slots", "How many answers are being generated, as llama.cpp's server has it", || get(slots)),
];

async fn props(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    let model = app.model(None).await?;
    let tokenizer = model.engine.tokenizer()?;
    let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
    let sampling = app.sampling();
    let params = json!({
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "typical_p": sampling.typical_p,
        "repeat_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        // Another one for each request.
        "seed": u32::MAX,
        "n_predict": -1,
        "max_tokens": -1,
        "stop": [],
        "stream": false,
    });
    Ok(Json(json!({
        "default_generation_settings": { "n_ctx": model.engine.context(), "params": params },
        "total_slots": model.engine.sequences(),
        "model_alias": model.name(),
        // Paths of this machine are nobody's business.
        "model_path": model.name(),
        "modalities": { "vision": false, "audio": false },
        "endpoint_slots": true,
        "endpoint_props": false,
        "endpoint_metrics": true,
        "chat_template": model.engine.template().map(|template| template.source()).unwrap_or_default(),
        "bos_token": token(tokenizer.bos()),
        "eos_token": token(tokenizer.eos()),
        "build_info": concat!("sterna-", env!("CARGO_PKG_VERSION")),
    })))
}

/// A slot for each full-length request that the cache holds. Which answer has which slot is not told: answers share pages.
async fn slots(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    let model = app.model(None).await?;
    let running = usize::try_from(app.metrics.in_flight()).unwrap_or_default();
    let slot = |id: usize| {
        json!({
            "id": id,
            "n_ctx": model.engine.context(),
            "speculative": model.engine.speculation(),
            "is_processing": id < running,
        })
    };
    Ok(Json((0..model.engine.sequences()).map(slot).collect()))
}
