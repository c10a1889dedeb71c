//! `/props` and `/slots`: the server's properties, as programs for llama.cpp's server ask for them.
//!
//! Source: <https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md>.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use serde_json::{Value, json};
use sterna::engine::Engine;
use sterna::text::{ChatTemplate, Tokenizer};

use super::Endpoint;
use crate::app::App;
use crate::error::ApiError;
use crate::residents::Listed;

pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::get("/props", "The server's properties, as llama.cpp's server has them", || get(props)),
    Endpoint::get("/slots", "How many answers are being generated, as llama.cpp's server has it", || get(slots)),
];

/// What only a model in memory tells. Watching does not load models.
#[derive(Default)]
struct Loaded {
    slots: usize,
    template: String,
    bos: String,
    eos: String,
}

impl Loaded {
    fn of(engine: &Engine) -> Self {
        let token = |id: Option<u32>| engine.tokenizer().ok()?.token(id?);
        let tokenizer = engine.tokenizer().ok();
        Self {
            slots: engine.sequences(),
            template: engine.template().map(ChatTemplate::source).unwrap_or_default(),
            bos: token(tokenizer.and_then(Tokenizer::bos)).unwrap_or_default(),
            eos: token(tokenizer.and_then(Tokenizer::eos)).unwrap_or_default(),
        }
    }
}

async fn props(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    let description = app.models.description(None)?;
    let loaded = app.models.read(None, Loaded::of)?;
    let sleeping = loaded.is_none();
    let Loaded { slots, template, bos, eos } = loaded.unwrap_or_default();
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
        "default_generation_settings": { "n_ctx": description.context, "params": params },
        "total_slots": slots,
        "model_alias": description.name,
        // Paths of this machine are nobody's business.
        "model_path": description.name,
        "modalities": { "vision": false, "audio": false },
        "endpoint_slots": true,
        "endpoint_props": false,
        "endpoint_metrics": true,
        "chat_template": template,
        "bos_token": bos,
        "eos_token": eos,
        "is_sleeping": sleeping,
        "build_info": concat!("sterna-", env!("CARGO_PKG_VERSION")),
    })))
}

/// Slots of the models in memory: one for each full-length request that a cache holds. Which answer has which slot is not
/// told, since answers share pages.
async fn slots(State(app): State<Arc<App>>) -> Json<Value> {
    let models = app.models.listed();
    let slots = models.iter().flat_map(|model| (0..model.sequences).map(move |at| (model, at < model.running)));
    let slot = |(id, (model, processing)): (usize, (&Listed, bool))| {
        json!({
            "id": id,
            "n_ctx": model.description.context,
            "speculative": model.speculation,
            "is_processing": processing,
        })
    };
    Json(slots.enumerate().map(slot).collect())
}
