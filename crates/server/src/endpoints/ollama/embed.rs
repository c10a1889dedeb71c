//! `/api/embed` and the older `/api/embeddings`: vectors of texts.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::App;
use crate::body::Body;
use crate::embedding::{Embedding, Embeddings, Input};
use crate::error::ApiError;
use crate::keep_alive::KeepAlive;

/// Texts, and what their vectors look like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbedRequest {
    /// Name of the model.
    model: String,
    /// The texts: one or a list, at most 2048. Without one the model is loaded. Default: none.
    #[serde(default)]
    input: Option<Input>,
    /// Cut texts that do not fit into the context at their end; otherwise they are an error. Default: true.
    truncate: Option<bool>,
    /// Numbers of each vector, from the front; the vector then has length 1 again. At most the model's own number.
    /// Default: all.
    dimensions: Option<usize>,
    /// How long the model stays in memory after the answer: seconds, or a text like "5m"; negative: without end. At most the
    /// server's own time. Default: the server's own time.
    keep_alive: Option<Value>,
}

/// A text, of which the vector is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingsRequest {
    /// Name of the model.
    model: String,
    /// The text. Without one the model is loaded. Default: empty.
    #[serde(default)]
    prompt: String,
    /// How long the model stays in memory after the answer: seconds, or a text like "5m"; negative: without end. At most the
    /// server's own time. Default: the server's own time.
    keep_alive: Option<Value>,
}

/// The answer of `/api/embed`. Times are in nanoseconds.
#[derive(Serialize)]
struct Answer<'a> {
    model: &'a str,
    embeddings: Vec<Vec<f32>>,
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: usize,
}

pub async fn embed(State(app): State<Arc<App>>, Body(request): Body<EmbedRequest>) -> Result<Response, ApiError> {
    let begin = Instant::now();
    let EmbedRequest { model, input, truncate, dimensions, keep_alive } = request;
    let model = app.model_for(Some(&model), KeepAlive::of_field(keep_alive.as_ref())?).await?;
    let load_duration = nanoseconds(begin);
    let Embeddings { vectors, tokens } = match input.filter(|input| !input.is_nothing()) {
        None => Embeddings { vectors: Vec::new(), tokens: 0 },
        Some(input) => {
            let truncate = truncate.unwrap_or(true);
            Embedding { model: model.clone(), input, field: "input", dimensions, truncate }.compute(&app).await?
        }
    };
    let total_duration = nanoseconds(begin);
    let model = model.name();
    let answer = Answer { model, embeddings: vectors, total_duration, load_duration, prompt_eval_count: tokens };
    Ok(Json(answer).into_response())
}

pub async fn embeddings(
    State(app): State<Arc<App>>,
    Body(request): Body<EmbeddingsRequest>,
) -> Result<Response, ApiError> {
    let EmbeddingsRequest { model, prompt, keep_alive } = request;
    let model = app.model_for(Some(&model), KeepAlive::of_field(keep_alive.as_ref())?).await?;
    if prompt.is_empty() {
        return Ok(Json(json!({ "embedding": [] })).into_response());
    }
    let input = Input::Text(prompt);
    let embedding = Embedding { model, input, field: "prompt", dimensions: None, truncate: true };
    let vector = embedding.compute(&app).await?.vectors.swap_remove(0);
    Ok(Json(Single { embedding: vector }).into_response())
}

/// The answer of `/api/embeddings`.
#[derive(Serialize)]
struct Single {
    embedding: Vec<f32>,
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
