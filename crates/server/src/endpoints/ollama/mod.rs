//! Ollama's API, which many programs speak and nothing else.
//!
//! Source: <https://github.com/ollama/ollama/blob/main/docs/api.md>.

mod about;
mod chat;
mod generate;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sterna::engine::{FinishReason, Request, Sampling, Usage};
use sterna::text::calendar;
use sterna_grammar::{Form, listed_only};

use super::Endpoint;
use crate::app::App;
use crate::error::Refusal;
use crate::sampling::Stop;
use crate::tools::Call;
use crate::turn::{Said, Turn};

/// All of them.
pub static ENDPOINTS: &[Endpoint] =
    &[chat::ENDPOINT, generate::ENDPOINT, about::TAGS, about::SHOW, about::PS, about::VERSION];

/// Errors in Ollama's shape.
pub async fn say_errors(response: Response) -> Response {
    match response.extensions().get::<Refusal>() {
        Some(refusal) => (refusal.status, Json(error(refusal))).into_response(),
        None => response,
    }
}

fn error(refusal: &Refusal) -> Value {
    json!({ "error": refusal.message })
}

/// How tokens are drawn, in Ollama's words. What only changes how fast an answer comes is the server's business.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// 0: always the likeliest token.
    temperature: Option<f32>,
    /// Draw from so many of the likeliest tokens; 0: all.
    top_k: Option<usize>,
    /// Draw from the likeliest tokens that have this probability together.
    top_p: Option<f32>,
    /// Draw from tokens at least this share as likely as the likeliest.
    min_p: Option<f32>,
    /// Locally typical sampling.
    typical_p: Option<f32>,
    /// Divides the logits of tokens that were seen.
    repeat_penalty: Option<f32>,
    /// Subtracted from the logits of tokens of the answer.
    presence_penalty: Option<f32>,
    /// Subtracted each time that a token was written.
    frequency_penalty: Option<f32>,
    /// The same seed and request give the same answer.
    seed: Option<i64>,
    /// Tokens of the answer at most; −1: as many as fit.
    num_predict: Option<i64>,
    /// Texts that end the answer.
    stop: Option<Vec<String>>,
    /// The context is the server's.
    #[serde(rename = "num_ctx")]
    _num_ctx: Option<u64>,
    /// The server's business.
    #[serde(rename = "num_thread")]
    _num_thread: Option<u64>,
    /// There is none.
    #[serde(rename = "num_gpu")]
    _num_gpu: Option<i64>,
    /// The server's business.
    #[serde(rename = "num_batch")]
    _num_batch: Option<u64>,
    /// The server's business.
    #[serde(rename = "num_keep")]
    _num_keep: Option<i64>,
    /// The server's business.
    #[serde(rename = "use_mmap")]
    _use_mmap: Option<bool>,
}

impl Options {
    /// A request without its prompt.
    pub fn request(self, app: &App) -> Result<Request, Refusal> {
        let usual = Sampling { temperature: 0.8, top_p: 0.9, ..app.sampling() };
        let sampling = Sampling {
            temperature: self.temperature.unwrap_or(usual.temperature),
            top_k: self.top_k.unwrap_or(usual.top_k),
            top_p: self.top_p.map_or(usual.top_p, |top_p| top_p.max(f32::MIN_POSITIVE)),
            min_p: self.min_p.unwrap_or(usual.min_p),
            typical_p: self.typical_p.unwrap_or(usual.typical_p),
            repetition_penalty: self.repeat_penalty.unwrap_or(usual.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or_default(),
            frequency_penalty: self.frequency_penalty.unwrap_or_default(),
            seed: self.seed.map_or(usual.seed, |seed| seed as u64),
            ..usual
        };
        sampling.check()?;
        let stop = Stop::texts(self.stop.map(Stop::Several))?;
        let max_tokens = self.num_predict.and_then(|most| usize::try_from(most).ok()).filter(|most| *most > 0);
        Ok(Request { max_tokens, sampling, stop, ..Request::default() })
    }
}

/// The form that a `format` asks for: "json", or a schema.
fn form(format: Option<Value>) -> Result<Option<Form>, Refusal> {
    match format {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) if name.is_empty() => Ok(None),
        Some(Value::String(name)) if name == "json" => Ok(Some(Form::Object)),
        Some(schema @ Value::Object(_)) => Ok(Some(Form::Schema(listed_only(schema)))),
        Some(_) => Err(Refusal::field("format", "format is \"json\" or a JSON schema")),
    }
}

/// Some programs always send a list of images, mostly empty.
fn no_images(field: &str, images: &[String]) -> Result<(), Refusal> {
    if images.is_empty() { Ok(()) } else { Err(Refusal::unsupported(field, "these models read text only")) }
}

fn no_thoughts(think: Option<bool>) -> Result<(), Refusal> {
    if think == Some(true) { Err(Refusal::unsupported("think", "leave it out")) } else { Ok(()) }
}

/// What stands in every object of an answer.
fn object(app: &App) -> Value {
    let now = calendar::now("%Y-%m-%dT%H:%M:%SZ").unwrap_or_default();
    json!({ "model": app.settings.model, "created_at": now })
}

/// What stands in the last one too.
fn finish(mut object: Value, reason: FinishReason, usage: &Usage) -> Value {
    let nanoseconds = |seconds: f64| (seconds * 1e9) as u64;
    object["done"] = true.into();
    object["done_reason"] = reason.as_str().into();
    object["total_duration"] = nanoseconds(usage.prefill_seconds + usage.decode_seconds).into();
    object["load_duration"] = 0.into();
    object["prompt_eval_count"] = usage.prompt_tokens.into();
    object["prompt_eval_duration"] = nanoseconds(usage.prefill_seconds).into();
    object["eval_count"] = usage.tokens.into();
    object["eval_duration"] = nanoseconds(usage.decode_seconds).into();
    object
}

/// Objects on a line each, while they come.
fn lines(objects: impl Stream<Item = Result<Value, Refusal>> + Send + 'static) -> Response {
    let line = |object: Result<Value, Refusal>| {
        let object = object.unwrap_or_else(|refusal| error(&refusal));
        Ok::<_, Infallible>(Bytes::from(format!("{object}\n")))
    };
    let body = Body::from_stream(objects.map(line));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

/// How an answer stands in the objects.
trait Shape: Send + Sync + 'static {
    /// Text and calls, in an object of `object`.
    fn said(&self, object: Value, text: &str, calls: &[Call]) -> Value;
}

/// What programs are told that ask for nothing but the model: it is there.
fn loaded(app: &App, shape: impl Shape) -> Response {
    let mut object = shape.said(object(app), "", &[]);
    object["done"] = true.into();
    object["done_reason"] = "load".into();
    Json(object).into_response()
}

/// An answer as objects on a line each, while it comes.
fn streamed(app: Arc<App>, turn: Turn, shape: impl Shape) -> Response {
    let state = (app, turn, shape);
    lines(stream::unfold(state, |(app, mut turn, shape)| async move {
        let begin = object(&app);
        let next = turn.next().await?.map(|said| match said {
            Said::Text { text, .. } => undone(shape.said(begin, &text, &[])),
            Said::Call(call) => undone(shape.said(begin, "", &[call])),
            Said::End { reason, usage, .. } => finish(shape.said(begin, "", &[]), reason, &usage),
        });
        Some((next, (app, turn, shape)))
    }))
}

/// An answer as one object.
async fn whole(app: &App, mut turn: Turn, shape: impl Shape) -> Result<Response, Refusal> {
    let (mut content, mut calls) = (String::new(), Vec::new());
    loop {
        match turn.next().await.ok_or_else(Refusal::stopping)?? {
            Said::Text { text, .. } => content.push_str(&text),
            Said::Call(call) => calls.push(call),
            Said::End { reason, usage, .. } => {
                return Ok(Json(finish(shape.said(object(app), &content, &calls), reason, &usage)).into_response());
            }
        }
    }
}

fn undone(mut object: Value) -> Value {
    object["done"] = false.into();
    object
}
