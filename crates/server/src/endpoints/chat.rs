//! `/v1/chat/completions`: the next message of a conversation.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat>.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sterna::engine::{FinishReason, Logprob, Request};
use sterna_grammar::{Form, listed_only};

use super::Endpoint;
use crate::app::{self, App};
use crate::body::{SampledBody, refuse_store};
use crate::conversation::{Answer, Dialect, Generate};
use crate::error::ApiError;
use crate::model::Model;
use crate::prompt::{Message, Prompts};
use crate::sampling::Stop;
use crate::stream::Framing;
use crate::think::Think;
use crate::tools::{Call, Tool, ToolChoice, Toolbox};
use crate::turn::{Delta, End, TokenLogprobs};
use crate::usage::TokenCounts;

pub static ENDPOINTS: &[Endpoint] = &[Endpoint::post::<SampledBody<ChatRequest>>(
    "/v1/chat/completions",
    "Generates the next message of a conversation",
    || post(chat),
)
.media(super::JSON_OR_EVENTS)];

/// The most answers of a request.
const MAX_CHOICES: usize = 16;
/// The most alternatives that are reported with a token.
const MAX_LOGPROBS: usize = 20;

/// A conversation, and how its next message is generated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// The messages so far, oldest first; at least one.
    messages: Vec<Message>,
    /// Name of the model. Default: the default model.
    model: Option<String>,
    /// Send the answer as server-sent events while it is generated. Default: false.
    stream: Option<bool>,
    /// Options for streams. Default: none.
    stream_options: Option<StreamOptions>,
    /// Maximum number of generated tokens, at least 1. Default: what the context has room for.
    #[schemars(range(min = 1))]
    max_completion_tokens: Option<usize>,
    /// Older name of `max_completion_tokens`, used if that is left out.
    #[schemars(range(min = 1))]
    max_tokens: Option<usize>,
    /// Number of answers, 1 to 16. Default: 1.
    #[schemars(range(min = 1, max = MAX_CHOICES))]
    n: Option<usize>,
    /// Texts that end the answer and are not part of it: one, or a list of up to 16. Default: none.
    stop: Option<Stop>,
    /// Report the log-probability of each generated token. Default: false.
    logprobs: Option<bool>,
    /// Number of alternatives reported with each token, 0 to 20; above 0 only with `logprobs`. Default: 0.
    #[schemars(range(max = MAX_LOGPROBS))]
    top_logprobs: Option<usize>,
    /// Form that the answer must have; not together with `tools`. Default: any text.
    response_format: Option<ResponseFormat>,
    /// Functions that the model may call, at most 128. Default: none.
    #[serde(default)]
    tools: Vec<Tool>,
    /// Whether the model must call a function, and which. Default: "auto".
    tool_choice: Option<ToolChoice>,
    /// Allow more than one call where `tool_choice` requires calls. Default: true.
    parallel_tool_calls: Option<bool>,
    /// Store the answer; only false is supported. Default: false.
    store: Option<bool>,
    /// Let the model think before it answers, with an effort if the template tells efforts apart; both need a template
    /// with a switch. Default: the template's.
    think: Option<Think>,
}

/// Options for streams.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// End the stream with an event that has the token counts. Default: false.
    pub include_usage: Option<bool>,
}

/// The form that an answer must have.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that is valid by a schema.
    JsonSchema {
        /// The schema and its name.
        json_schema: NamedSchema,
    },
    /// Text that a regular expression matches as a whole. Not in OpenAI's API.
    Regex {
        /// The regular expression, without look-around and back-references.
        pattern: String,
    },
    /// Text that follows a grammar. Not in OpenAI's API.
    Lark {
        /// The grammar, in llguidance's dialect of Lark.
        grammar: String,
    },
}

impl ResponseFormat {
    /// The form for the grammar compiler.
    pub fn form(format: Option<Self>) -> Option<Form> {
        match format? {
            Self::Text => None,
            Self::JsonObject => Some(Form::Object),
            Self::JsonSchema { json_schema } => Some(Form::Schema(listed_only(json_schema.schema))),
            Self::Regex { pattern } => Some(Form::Regex(pattern)),
            Self::Lark { grammar } => Some(Form::Lark(grammar)),
        }
    }
}

/// A JSON schema with a name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedSchema {
    /// Name of the schema. Accepted, not read.
    #[serde(rename = "name")]
    _name: Option<String>,
    /// Description of the schema. Accepted, not read.
    #[serde(rename = "description")]
    _description: Option<String>,
    /// The JSON schema; drafts up to 2020-12.
    schema: Value,
    /// Accepted, not read: answers are always valid by the schema.
    #[serde(rename = "strict")]
    _strict: Option<bool>,
}

async fn chat(
    State(app): State<Arc<App>>,
    SampledBody { request, sampling }: SampledBody<ChatRequest>,
) -> Result<Response, ApiError> {
    let model = app.model(request.model.as_deref()).await?;
    refuse_store(request.store)?;
    let count = request.n.unwrap_or(1);
    if !(1..=MAX_CHOICES).contains(&count) {
        return Err(ApiError::field("n", format!("n is {count}; it must be from 1 to {MAX_CHOICES}")));
    }
    let limits = [("max_completion_tokens", request.max_completion_tokens), ("max_tokens", request.max_tokens)];
    if let Some((name, _)) = limits.iter().find(|(_, limit)| *limit == Some(0)) {
        return Err(ApiError::field(*name, format!("{name} is 0; it must be at least 1")));
    }
    let tools = Toolbox::new(request.tools, request.tool_choice, request.parallel_tool_calls.unwrap_or(false))?;
    let (logprobs, alternatives) = (request.logprobs.unwrap_or(false), request.top_logprobs.unwrap_or(0));
    if alternatives > MAX_LOGPROBS || alternatives > 0 && !logprobs {
        let message = format!("top_logprobs is {alternatives}; it may be up to {MAX_LOGPROBS}, and needs logprobs");
        return Err(ApiError::field("top_logprobs", message));
    }
    let generate = Generate {
        model: model.clone(),
        prompts: Prompts::Chat { messages: request.messages, think: request.think, prefill: String::new() },
        count,
        tools,
        form: ResponseFormat::form(request.response_format),
        stream: request.stream.unwrap_or(false),
        request: Request::default()
            .max_tokens(request.max_completion_tokens.or(request.max_tokens))
            .sampling(sampling.sampling(&app)?)
            .stop(Stop::texts(request.stop)?)
            .logprobs(logprobs.then_some(alternatives)),
    };
    let dialect = Chat {
        app: app.clone(),
        model,
        id: app.id("chatcmpl"),
        created: app::now(),
        logprobs,
        include_usage: request.stream_options.unwrap_or_default().include_usage == Some(true),
        calls: vec![0; count],
    };
    generate.respond(&app, dialect).await
}

/// OpenAI's chat API.
struct Chat {
    app: Arc<App>,
    model: Arc<Model>,
    id: String,
    created: u64,
    logprobs: bool,
    include_usage: bool,
    /// The number of calls so far, for each answer.
    calls: Vec<usize>,
}

impl Dialect for Chat {
    const FRAMING: Framing = Framing::Events;
    const FIELDS: &[(&str, &str)] =
        &[("prompt", "messages"), ("grammar", "response_format"), ("think", "reasoning_effort")];

    fn opening(&mut self) -> Vec<Value> {
        let delta = json!({ "role": "assistant", "content": "", "refusal": null });
        (0..self.calls.len()).map(|index| self.chunk(index, delta.clone(), None)).collect()
    }

    fn delta(&mut self, index: usize, delta: Delta) -> Vec<Value> {
        vec![match delta {
            Delta::Text { text, logprobs } => {
                let mut chunk = self.chunk(index, json!({ "content": text }), None);
                if let Some(token) = &logprobs {
                    chunk["choices"][0]["logprobs"] = json!({ "content": [self.logprob(token)], "refusal": null });
                }
                chunk
            }
            Delta::Call(call) => {
                let mut value = self.call(&call);
                value["index"] = self.calls[index].into();
                self.calls[index] += 1;
                self.chunk(index, json!({ "tool_calls": [value] }), None)
            }
            Delta::End(end) => self.chunk(index, json!({}), Some(finish_reason(&end))),
        }]
    }

    fn closing(&mut self, usage: TokenCounts) -> Option<Value> {
        let mut object = self.object("chat.completion.chunk", vec![]);
        object["usage"] = usage.json();
        self.include_usage.then_some(object)
    }

    fn body(&mut self, answers: Vec<(Answer, End)>, usage: TokenCounts) -> Value {
        let choices = answers.iter().enumerate().map(|(index, (answer, end))| {
            let calls: Vec<Value> = answer.calls().map(|call| self.call(call)).collect();
            let text = answer.text();
            let content = if text.trim().is_empty() && !calls.is_empty() { Value::Null } else { text.into() };
            let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
            if !calls.is_empty() {
                message["tool_calls"] = calls.into();
            }
            let tokens = || answer.logprobs.iter().map(|(_, token)| self.logprob(token)).collect::<Value>();
            let logprobs = self.logprobs.then(|| json!({ "content": tokens(), "refusal": null }));
            let reason = finish_reason(end);
            json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": reason })
        });
        let mut object = self.object("chat.completion", choices.collect());
        object["usage"] = usage.json();
        object
    }
}

impl Chat {
    fn chunk(&self, index: usize, delta: Value, reason: Option<&str>) -> Value {
        let choice = json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": reason });
        let mut object = self.object("chat.completion.chunk", vec![choice]);
        if self.include_usage {
            object["usage"] = Value::Null;
        }
        object
    }

    fn object(&self, kind: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model.name(),
            "system_fingerprint": format!("sterna-{}", env!("CARGO_PKG_VERSION")),
            "choices": choices,
        })
    }

    fn call(&self, Call { name, arguments }: &Call) -> Value {
        json!({ "id": self.app.id("call"), "type": "function", "function": { "name": name, "arguments": arguments } })
    }

    fn logprob(&self, (token, alternatives): &TokenLogprobs) -> Value {
        let value = |logprob: &Logprob| {
            let (token, bytes) = (self.model.token_text(logprob.id), self.model.token_bytes(logprob.id));
            json!({ "token": token, "logprob": logprob.logprob, "bytes": bytes })
        };
        let mut object = value(token);
        object["top_logprobs"] = alternatives.iter().map(value).collect();
        object
    }
}

fn finish_reason(end: &End) -> &'static str {
    if end.called && end.reason == FinishReason::Stop { "tool_calls" } else { end.reason.as_str() }
}
