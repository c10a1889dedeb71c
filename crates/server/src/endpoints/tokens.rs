//! `/tokenize` and `/detokenize`: text to token ids, and back. llama.cpp's names of fields are read, and vLLM's too, whose
//! `/tokenizer_info` tells lm-evaluation-harness that it needs no copy of the tokenizer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Endpoint;
use crate::app::App;
use crate::body::Body;
use crate::error::ApiError;
use crate::model::Model;

pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::post::<Tokenize>("/tokenize", "Converts a text to token ids", || post(tokenize)),
    Endpoint::post::<Detokenize>("/detokenize", "Converts token ids to text", || post(detokenize)),
    Endpoint::get("/tokenizer_info", "The special tokens at the beginning and end of texts", || get(info)),
];

/// A text to convert to token ids.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tokenize {
    /// The text.
    content: String,
    /// Add the BOS token if the model's prompts begin with one. Default: false.
    add_special: Option<bool>,
    /// Read special tokens that the text spells as such; otherwise they are text. Default: true.
    parse_special: Option<bool>,
    /// Name of the model. Default: the default model.
    model: Option<String>,
}

/// Token ids to convert to text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detokenize {
    /// The token ids, each less than the size of the vocabulary.
    tokens: Vec<u32>,
    /// Name of the model. Default: the default model.
    model: Option<String>,
}

async fn tokenize(State(app): State<Arc<App>>, Body(request): Body<Tokenize>) -> Result<Json<Value>, ApiError> {
    let Tokenize { content, add_special, parse_special, model } = request;
    let model = app.model(model.as_deref()).await?;
    let encode = move |model: &Model| {
        let tokenizer = model.engine.tokenizer()?;
        Ok(match (add_special.unwrap_or(false), parse_special.unwrap_or(true)) {
            (false, true) => tokenizer.encode(&content)?,
            (false, false) => tokenizer.encode_plain(&content)?,
            (true, true) => tokenizer.encode_prompt(&content)?,
            (true, false) => tokenizer.encode_plain_prompt(&content)?,
        })
    };
    Ok(Json(json!({ "tokens": model.run_blocking(encode).await? })))
}

async fn detokenize(State(app): State<Arc<App>>, Body(request): Body<Detokenize>) -> Result<Json<Value>, ApiError> {
    let model = app.model(request.model.as_deref()).await?;
    let vocab = model.engine.config().vocab;
    if let Some(at) = request.tokens.iter().position(|id| *id as usize >= vocab) {
        let message =
            format!("tokens[{at}] is {}, but the model's vocabulary ends at {}", request.tokens[at], vocab - 1);
        return Err(ApiError::field(format!("tokens[{at}]"), message));
    }
    let text = model.engine.tokenizer()?.decode(&request.tokens)?;
    Ok(Json(json!({ "content": text, "prompt": text })))
}

async fn info(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    let model = app.model(None).await?;
    let tokenizer = model.engine.tokenizer()?;
    let name = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
    Ok(Json(json!({ "bos_token": name(tokenizer.bos()), "eos_token": name(tokenizer.eos()) })))
}
