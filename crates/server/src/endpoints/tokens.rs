//! `/tokenize` and `/detokenize`: text to token ids, and back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Endpoint};
use crate::app::App;
use crate::body::Body;
use crate::error::Refusal;

pub const TOKENIZE: Endpoint = Endpoint {
    path: "/tokenize",
    method: "post",
    summary: "The token ids of a text",
    request: Some(|schemas| schemas.subschema_for::<Tokenize>()),
    answer: Answer::JSON,
    route: || post(tokenize),
};

pub const DETOKENIZE: Endpoint = Endpoint {
    path: "/detokenize",
    method: "post",
    summary: "The text of token ids",
    request: Some(|schemas| schemas.subschema_for::<Detokenize>()),
    answer: Answer::JSON,
    route: || post(detokenize),
};

/// A text.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tokenize {
    /// It.
    content: String,
    /// Whether what begins a prompt (BOS) is added.
    add_special: Option<bool>,
}

/// Token ids.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detokenize {
    /// They.
    tokens: Vec<u32>,
}

async fn tokenize(State(app): State<Arc<App>>, Body(request): Body<Tokenize>) -> Result<Json<Value>, Refusal> {
    let Tokenize { content, add_special } = request;
    let encode = move |app: &App| Ok(app.engine.tokenizer()?.encode(&content, add_special.unwrap_or(false))?);
    Ok(Json(json!({ "tokens": app.aside(encode).await? })))
}

async fn detokenize(State(app): State<Arc<App>>, Body(request): Body<Detokenize>) -> Result<Json<Value>, Refusal> {
    let vocab = app.engine.config().vocab;
    if let Some(at) = request.tokens.iter().position(|id| *id as usize >= vocab) {
        let message =
            format!("tokens[{at}] is {}, but the model's vocabulary ends at {}", request.tokens[at], vocab - 1);
        return Err(Refusal::field(format!("tokens[{at}]"), message));
    }
    Ok(Json(json!({ "content": app.engine.tokenizer()?.decode(&request.tokens, false)? })))
}
