//! Ollama's API, for the programs that speak no other.
//!
//! Source: <https://github.com/ollama/ollama/blob/main/docs/api.md>.

mod about;
mod chat;
mod embed;
mod generate;

use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sterna::engine::Request;
use sterna::text::calendar;
use sterna_grammar::{Form, listed_only};

use super::Endpoint;
use crate::app::App;
use crate::conversation::{Answer, Dialect};
use crate::error::ApiError;
use crate::keep_alive::KeepAlive;
use crate::model::Model;
use crate::sampling::Stop;
use crate::stream::Framing;
use crate::tools::Call;
use crate::turn::{Delta, End};
use crate::usage::TokenCounts;

pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::post::<chat::ChatRequest>("/api/chat", "Generates the next message of a conversation", || {
        post(chat::chat)
    })
    .media(JSON_OR_LINES)
    .errors(error),
    Endpoint::post::<generate::GenerateRequest>("/api/generate", "Answers a text", || post(generate::generate))
        .media(JSON_OR_LINES)
        .errors(error),
    Endpoint::post::<embed::EmbedRequest>("/api/embed", "Turns texts into vectors", || post(embed::embed))
        .errors(error),
    Endpoint::post::<embed::EmbeddingsRequest>("/api/embeddings", "Turns a text into a vector", || {
        post(embed::embeddings)
    })
    .errors(error),
    Endpoint::get("/api/tags", "Lists the served models", || get(about::tags)).errors(error),
    Endpoint::post::<about::ShowRequest>("/api/show", "Describes a model", || post(about::show)).errors(error),
    Endpoint::get("/api/ps", "Lists the models in memory", || get(about::ps)).errors(error),
    Endpoint::get("/api/version", "The server's version", || get(about::version)).errors(error),
];

const JSON_OR_LINES: &[&str] = &["application/json", "application/x-ndjson"];

pub(super) fn error(error: &ApiError) -> Value {
    json!({ "error": error.message })
}

/// Ollama's sampling parameters and limits.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Sampling temperature, at least 0; 0 always takes the likeliest token. Default: 0.8.
    temperature: Option<f32>,
    /// Samples from this many of the likeliest tokens; 0 samples from all. Default: 40.
    top_k: Option<usize>,
    /// Nucleus sampling: samples from the fewest likeliest tokens whose probabilities add up to this, 0 to 1. Default: 0.9.
    top_p: Option<f32>,
    /// Leaves out tokens whose probability is less than this share of the likeliest one's, 0 to 1. Default: 0.
    min_p: Option<f32>,
    /// Locally typical sampling: samples from the most typical tokens whose probabilities add up to this, above 0, up to 1.
    /// Default: 1.
    typical_p: Option<f32>,
    /// Divides the positive logits of tokens that occur in the prompt or the answer, and multiplies the negative ones; above
    /// 0. Default: 1, no penalty.
    repeat_penalty: Option<f32>,
    /// Subtracted from the logits of tokens that occur in the answer. Default: 0.
    presence_penalty: Option<f32>,
    /// Subtracted from a token's logit for each time it occurs in the answer. Default: 0.
    frequency_penalty: Option<f32>,
    /// Seed of the random numbers. Equal requests with equal seeds get equal answers. Default: another one for each request.
    seed: Option<i64>,
    /// Maximum number of generated tokens; 0 or less: what the context has room for. Default: -1.
    num_predict: Option<i64>,
    /// Texts that end the answer and are not part of it: up to 16. Default: none.
    stop: Option<Vec<String>>,
}

impl Options {
    /// The engine's request, without a prompt.
    ///
    /// # Errors
    /// 400 for more than 16 stop texts.
    pub fn request(self, app: &App) -> Result<Request, ApiError> {
        let default = app.sampling().temperature(0.8).top_p(0.9);
        let sampling = default
            .clone()
            .temperature(self.temperature.unwrap_or(default.temperature))
            .top_k(self.top_k.unwrap_or(default.top_k))
            .top_p(self.top_p.map_or(default.top_p, |top_p| top_p.max(f32::MIN_POSITIVE)))
            .min_p(self.min_p.unwrap_or(default.min_p))
            .typical_p(self.typical_p.unwrap_or(default.typical_p))
            .repetition_penalty(self.repeat_penalty.unwrap_or(default.repetition_penalty))
            .presence_penalty(self.presence_penalty.unwrap_or_default())
            .frequency_penalty(self.frequency_penalty.unwrap_or_default())
            .seed(self.seed.map_or(default.seed, |seed| seed as u64));
        let stop = Stop::texts(self.stop.map(Stop::Several))?;
        let max_tokens = self.num_predict.and_then(|most| usize::try_from(most).ok()).filter(|most| *most > 0);
        Ok(Request::default().max_tokens(max_tokens).sampling(sampling).stop(stop))
    }
}

/// The form that the field `format` asks for: "json", or a JSON schema.
fn form(format: Option<Value>) -> Result<Option<Form>, ApiError> {
    match format {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) if name == "json" => Ok(Some(Form::Object)),
        Some(schema @ Value::Object(_)) => Ok(Some(Form::Schema(listed_only(schema)))),
        Some(_) => Err(ApiError::field("format", "format is \"json\" or a JSON schema")),
    }
}

/// Some programs always send a list of images, which is mostly empty.
fn refuse_images(field: &str, images: &[String]) -> Result<(), ApiError> {
    if images.is_empty() { Ok(()) } else { Err(ApiError::unsupported(field, "these models read text only")) }
}

/// Ollama's API of answers.
struct Ollama {
    model: Arc<Model>,
    content: SetContent,
}

/// Puts text and calls into an object as the endpoint does.
type SetContent = fn(&mut Value, &str, &[&Call]);

/// The object of a part of an answer.
fn object(model: &str, content: SetContent, (text, calls): (&str, &[&Call]), done: bool) -> Value {
    let now = calendar::now("%Y-%m-%dT%H:%M:%SZ").unwrap_or_default();
    let mut object = json!({ "model": model, "created_at": now });
    content(&mut object, text, calls);
    object["done"] = done.into();
    object
}

/// The response to a request without a prompt, by which programs load a model, or unload it with a `keep_alive` of 0.
async fn load_or_unload(
    app: &App,
    name: &str,
    keep_alive: Option<KeepAlive>,
    content: SetContent,
) -> Result<Response, ApiError> {
    let model = app.models.description(Some(name))?;
    let unloaded = keep_alive == Some(KeepAlive::NONE) && app.models.unload(Some(name)).await?;
    if !unloaded {
        app.model_for(Some(name), keep_alive).await?;
    }
    let mut object = object(&model.name, content, ("", &[]), true);
    object["done_reason"] = if unloaded { "unload" } else { "load" }.into();
    Ok(Json(object).into_response())
}

impl Ollama {
    /// The object of a part of an answer.
    fn object(&self, text: &str, calls: &[&Call], done: bool) -> Value {
        object(self.model.name(), self.content, (text, calls), done)
    }

    /// The object that ends an answer.
    fn last(&self, text: &str, calls: &[&Call], End { reason, usage, .. }: &End) -> Value {
        let nanoseconds = |seconds: f64| (seconds * 1e9) as u64;
        let mut object = self.object(text, calls, true);
        object["done_reason"] = reason.as_str().into();
        object["total_duration"] = nanoseconds(usage.prefill_seconds + usage.decode_seconds).into();
        object["load_duration"] = 0.into();
        object["prompt_eval_count"] = usage.prompt_tokens.into();
        object["prompt_eval_duration"] = nanoseconds(usage.prefill_seconds).into();
        object["eval_count"] = usage.tokens.into();
        object["eval_duration"] = nanoseconds(usage.decode_seconds).into();
        object
    }
}

impl Dialect for Ollama {
    const FRAMING: Framing = Framing::Lines;
    const FIELDS: &[(&str, &str)] =
        &[("grammar", "format"), ("max_tokens", "num_predict"), ("repetition_penalty", "repeat_penalty")];

    fn delta(&mut self, _: usize, delta: Delta) -> Vec<Value> {
        vec![match delta {
            Delta::Text { text, .. } => self.object(&text, &[], false),
            Delta::Call(call) => self.object("", &[&call], false),
            Delta::End(end) => self.last("", &[], &end),
        }]
    }

    fn error(&mut self, error: &ApiError) -> Value {
        self::error(error)
    }

    fn body(&mut self, answers: Vec<(Answer, End)>, _: TokenCounts) -> Value {
        let last = |(answer, end): &(Answer, End)| self.last(&answer.text(), &answer.calls().collect::<Vec<_>>(), end);
        answers.first().map(last).unwrap_or_default()
    }
}
