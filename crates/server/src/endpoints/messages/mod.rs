//! `/v1/messages`: the next message of a conversation in Anthropic's API, text and functions only.
//!
//! ```text
//! message_start ─► (content_block_start ─► content_block_delta … ─► content_block_stop) … ─► message_delta ─► message_stop
//! ```
//! Source: <https://docs.anthropic.com/en/api/messages>.

mod request;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use serde_json::{Value, json};
use sterna::engine::FinishReason;

use super::Endpoint;
use crate::app::App;
use crate::body::Body;
use crate::conversation::{Answer, Dialect};
use crate::error::ApiError;
use crate::stream::Framing;
use crate::tools::{Call, Part};
use crate::turn::{Delta, End, TokenLogprobs};
use crate::usage::TokenCounts;
use request::MessagesRequest;

pub static ENDPOINTS: &[Endpoint] = &[
    Endpoint::post::<MessagesRequest>(
        "/v1/messages",
        "Generates the next message of a conversation, in Anthropic's API",
        || post(answer),
    )
    .media(super::JSON_OR_EVENTS)
    .errors(error),
    Endpoint::post::<MessagesRequest>("/v1/messages/count_tokens", "Counts the tokens of a conversation", || {
        post(count)
    })
    .errors(error),
];

async fn answer(State(app): State<Arc<App>>, Body(request): Body<MessagesRequest>) -> Result<Response, ApiError> {
    let model = app.model(request.model.as_deref()).await?;
    let single_call = request.single_call();
    let generate = request.generate(&app, model.clone()).map_err(|error| error.renamed(Messages::FIELDS))?;
    let dialect = Messages {
        app: app.clone(),
        model: model.name().to_owned(),
        id: id(&app, "msg"),
        stops: generate.request.stop.clone(),
        single_call,
        prompt_tokens: 0,
        blocks: 0,
        text: false,
        called: false,
    };
    generate.respond(&app, dialect).await
}

async fn count(State(app): State<Arc<App>>, Body(request): Body<MessagesRequest>) -> Result<Json<Value>, ApiError> {
    let model = app.model(request.model.as_deref()).await?;
    let (prompts, tools) = request.prompt()?;
    let prompts = prompts.encode(&model, &Arc::new(tools), None).await;
    let prompts = prompts.map_err(|error| error.renamed(Messages::FIELDS))?;
    Ok(Json(json!({ "input_tokens": prompts.iter().map(Vec::len).sum::<usize>() })))
}

/// An id like Anthropic's: `msg_1a2b…`.
fn id(app: &App, prefix: &str) -> String {
    app.id(prefix).replacen('-', "_", 1)
}

/// An error in Anthropic's shape: <https://docs.anthropic.com/en/api/errors>.
pub(super) fn error(error: &ApiError) -> Value {
    let kind = match error.status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        StatusCode::GATEWAY_TIMEOUT => "timeout_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "api_error",
    };
    json!({ "type": "error", "error": { "type": kind, "message": error.message } })
}

/// Anthropic's API of messages.
struct Messages {
    app: Arc<App>,
    /// The model's name.
    model: String,
    id: String,
    /// The request's stop texts.
    stops: Vec<String>,
    /// Whether calls after the first are left out.
    single_call: bool,
    prompt_tokens: usize,
    /// The number of blocks that the stream has begun.
    blocks: usize,
    /// Whether the last of them is text, and not ended.
    text: bool,
    /// Whether there was a call.
    called: bool,
}

impl Dialect for Messages {
    const FRAMING: Framing = Framing::NamedEvents;
    const FIELDS: &[(&str, &str)] = &[
        ("prompt", "messages"),
        ("grammar", "output_config.format"),
        ("stop", "stop_sequences"),
        ("think", "thinking"),
    ];

    fn prompts(&mut self, prompts: &[Vec<u32>], _: Vec<Vec<TokenLogprobs>>) -> Result<(), ApiError> {
        self.prompt_tokens = prompts.iter().map(Vec::len).sum();
        Ok(())
    }

    fn opening(&mut self) -> Vec<Value> {
        let message = self.message(json!([]), json!({ "stop_reason": null, "stop_sequence": null }), 0);
        vec![json!({ "type": "message_start", "message": message })]
    }

    fn delta(&mut self, _: usize, delta: Delta) -> Vec<Value> {
        let mut events = Vec::new();
        match delta {
            Delta::Text { text, .. } if text.is_empty() => {}
            Delta::Text { text, .. } => {
                if !self.text {
                    events.push(self.start(json!({ "type": "text", "text": "" })));
                    self.text = true;
                }
                events.push(self.block_delta(json!({ "type": "text_delta", "text": text })));
            }
            Delta::Call(_) if self.single_call && self.called => {}
            Delta::Call(call) => {
                events.extend(self.end_text());
                events.push(self.start(self.tool_use(&call, json!({}))));
                events.push(self.block_delta(json!({ "type": "input_json_delta", "partial_json": call.arguments })));
                events.push(self.stop());
                self.called = true;
            }
            Delta::End(end) => {
                events.extend(self.end_text());
                let usage = usage(self.prompt_tokens, end.usage.tokens);
                events.push(json!({ "type": "message_delta", "delta": self.reason(&end), "usage": usage }));
                events.push(json!({ "type": "message_stop" }));
            }
        }
        events
    }

    fn error(&mut self, error: &ApiError) -> Value {
        self::error(error)
    }

    fn body(&mut self, answers: Vec<(Answer, End)>, usage: TokenCounts) -> Value {
        let Some((answer, end)) = answers.first() else { return Value::Null };
        let mut calls = 0;
        let content = answer.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(json!({ "type": "text", "text": text })),
            Part::Call(call) => {
                calls += 1;
                let arguments = serde_json::from_str(&call.arguments).unwrap_or_default();
                (calls == 1 || !self.single_call).then(|| self.tool_use(call, arguments))
            }
        });
        self.message(content.collect(), self.reason(end), usage.generated)
    }
}

impl Messages {
    /// A message of the assistant. `end` has its stop reason and its stop text.
    fn message(&self, content: Value, end: Value, tokens: usize) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": end["stop_reason"],
            "stop_sequence": end["stop_sequence"],
            "usage": usage(self.prompt_tokens, tokens),
        })
    }

    fn tool_use(&self, call: &Call, input: Value) -> Value {
        json!({ "type": "tool_use", "id": id(&self.app, "toolu"), "name": call.name, "input": input })
    }

    /// Why an answer ended.
    fn reason(&self, End { reason, stop, called, .. }: &End) -> Value {
        let sequence = stop.and_then(|index| self.stops.get(index));
        let reason = match reason {
            FinishReason::Length => "max_tokens",
            _ if sequence.is_some() => "stop_sequence",
            _ if *called => "tool_use",
            _ => "end_turn",
        };
        json!({ "stop_reason": reason, "stop_sequence": sequence })
    }

    /// The event that begins the next block.
    fn start(&mut self, block: Value) -> Value {
        self.blocks += 1;
        json!({ "type": "content_block_start", "index": self.blocks - 1, "content_block": block })
    }

    /// An event with a piece of the last block.
    fn block_delta(&self, delta: Value) -> Value {
        json!({ "type": "content_block_delta", "index": self.blocks - 1, "delta": delta })
    }

    /// The event that ends the last block.
    fn stop(&self) -> Value {
        json!({ "type": "content_block_stop", "index": self.blocks - 1 })
    }

    /// The event that ends a block of text, if one is open.
    fn end_text(&mut self) -> Option<Value> {
        std::mem::take(&mut self.text).then(|| self.stop())
    }
}

/// Token counts. All tokens of a prompt count as input: what is in the prefix cache is not charged otherwise.
fn usage(prompt: usize, generated: usize) -> Value {
    json!({
        "input_tokens": prompt,
        "output_tokens": generated,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    })
}
