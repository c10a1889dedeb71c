//! `/v1/responses`: the next message of a conversation in OpenAI's newer API, text and functions only.
//!
//! ```text
//! created, in_progress ─► (output_item.added ─► content_part.added ─► output_text.delta … done ─► …done) … ─► completed
//! ```
//! Source: <https://platform.openai.com/docs/api-reference/responses>.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sterna::engine::{FinishReason, Request, Usage};
use sterna_grammar::{Form, listed_only};

use super::Endpoint;
use crate::app::{self, App};
use crate::body::{Body, refuse_store};
use crate::conversation::{Answer, Dialect, Generate};
use crate::error::ApiError;
use crate::prompt::{CalledFunction, Content, Message, Prompts, Role, ToolCall};
use crate::sampling::SamplingParams;
use crate::stream::Framing;
use crate::think::Think;
use crate::tools::{Call, Function, FunctionName, NamedToolChoice, Part, Tool, ToolChoice, ToolChoiceMode, Toolbox};
use crate::turn::{Delta, End};
use crate::usage::TokenCounts;

pub static ENDPOINTS: &[Endpoint] = &[Endpoint::post::<ResponsesRequest>(
    "/v1/responses",
    "Generates the next message of a conversation, in OpenAI's newer API",
    || post(respond),
)
.media(super::JSON_OR_EVENTS)];

/// A conversation, and how its next message is generated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponsesRequest {
    /// The conversation so far: a text of the user, or a list of messages, calls and their results.
    input: Input,
    /// Name of the model. Default: the default model.
    model: Option<String>,
    /// A system message that goes before the conversation. Default: none.
    instructions: Option<String>,
    /// Maximum number of generated tokens, at least 1. Default: what the context has room for.
    #[schemars(range(min = 1))]
    max_output_tokens: Option<usize>,
    /// Send the answer as server-sent events while it is generated. Default: false.
    stream: Option<bool>,
    /// Sampling temperature, 0 to 2; 0 always takes the likeliest token. Default: 1.
    temperature: Option<f32>,
    /// Nucleus sampling: samples from the fewest likeliest tokens whose probabilities add up to this, 0 to 1. Default: 1.
    top_p: Option<f32>,
    /// Form that the answer must have; not together with `tools`. Default: any text.
    text: Option<TextOptions>,
    /// Functions that the model may call, at most 128. Default: none.
    #[serde(default)]
    tools: Vec<FlatTool>,
    /// Whether the model must call a function, and which. Default: "auto".
    tool_choice: Option<FlatToolChoice>,
    /// Allow more than one call where `tool_choice` requires calls. Default: true.
    parallel_tool_calls: Option<bool>,
    /// What happens to a conversation that is longer than the context. Default: "disabled".
    truncation: Option<Truncation>,
    /// Store the answer; only false is supported. Default: false.
    store: Option<bool>,
    /// Let the model think before it answers, with an effort if the template tells efforts apart; both need a template
    /// with a switch. Default: the template's.
    think: Option<Think>,
    /// Notes of the client, which the response repeats. Default: none.
    metadata: Option<Map<String, Value>>,
    /// Identifier of the end user, which the response repeats. Default: none.
    user: Option<String>,
}

impl ResponsesRequest {
    fn format(&self) -> Option<&Format> {
        self.text.as_ref()?.format.as_ref()
    }
}

/// The conversation so far.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Input {
    /// A message of the user.
    Text(String),
    /// Messages, calls and results, oldest first.
    Items(Vec<Item>),
}

/// An item of a conversation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Item {
    /// A function call or its result.
    Function(FunctionItem),
    /// A message.
    Message(MessageItem),
}

/// A message.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct MessageItem {
    /// Kind of the item: "message".
    #[serde(rename = "type", default = "message_type")]
    _kind: String,
    /// The author of the message.
    role: Role,
    /// The text of the message.
    content: Content,
}

fn message_type() -> String {
    "message".into()
}

/// A function call or its result.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FunctionItem {
    /// A call that the model made.
    FunctionCall {
        /// The id by which the result names the call.
        call_id: String,
        /// Name of the function.
        name: String,
        /// The arguments: a JSON object, or one written as a string. Default: none.
        #[serde(default)]
        arguments: Value,
    },
    /// The result of a call.
    FunctionCallOutput {
        /// The id of the call.
        call_id: String,
        /// The result.
        output: String,
    },
}

/// Options for the text of an answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextOptions {
    /// Form that the answer must have. Default: any text.
    format: Option<Format>,
}

/// The form that an answer must have.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Format {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that is valid by a schema.
    JsonSchema {
        /// Name of the schema. Required as in OpenAI's API, not read.
        #[serde(rename = "name", default)]
        _name: String,
        /// The JSON schema; drafts up to 2020-12.
        schema: Value,
        /// Description of the schema. Accepted, not read.
        #[serde(rename = "description")]
        _description: Option<String>,
        /// Accepted, not read: answers are always valid by the schema.
        #[serde(rename = "strict")]
        _strict: Option<bool>,
    },
}

/// A tool that the model may use.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FlatTool {
    /// A function, the only kind of tool.
    Function(Function),
}

/// Whether the model calls functions, and which.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum FlatToolChoice {
    /// Whether functions are called at all.
    Mode(ToolChoiceMode),
    /// The one function that must be called.
    Named(FlatNamedToolChoice),
}

/// A function that must be called, once.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FlatNamedToolChoice {
    /// A function, the only kind of tool.
    Function {
        /// Name of one of the functions in `tools`.
        name: String,
    },
}

impl From<FlatToolChoice> for ToolChoice {
    fn from(choice: FlatToolChoice) -> Self {
        match choice {
            FlatToolChoice::Mode(mode) => Self::Mode(mode),
            FlatToolChoice::Named(FlatNamedToolChoice::Function { name }) => {
                Self::Named(NamedToolChoice::Function { function: FunctionName { name } })
            }
        }
    }
}

/// What happens to a conversation that is longer than the context.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// The request is an error.
    Disabled,
    /// The oldest tokens are dropped.
    Auto,
}

async fn respond(State(app): State<Arc<App>>, Body(request): Body<ResponsesRequest>) -> Result<Response, ApiError> {
    let model = app.model(request.model.as_deref()).await?;
    refuse_store(request.store)?;
    let tools = request.tools.iter().cloned().map(|FlatTool::Function(function)| Tool::Function { function });
    let choice = request.tool_choice.clone().map(ToolChoice::from);
    let sampling =
        SamplingParams { temperature: request.temperature, top_p: request.top_p, ..SamplingParams::default() };
    let form = request.format().and_then(|format| match format {
        Format::Text => None,
        Format::JsonObject => Some(Form::Object),
        Format::JsonSchema { schema, .. } => Some(Form::Schema(listed_only(schema.clone()))),
    });
    let generate = Generate {
        model: model.clone(),
        prompts: Prompts::Chat { messages: messages(&request), think: request.think, prefill: String::new() },
        count: 1,
        tools: Toolbox::new(tools.collect(), choice, request.parallel_tool_calls.unwrap_or(false))?,
        form,
        stream: request.stream.unwrap_or(false),
        request: Request::default()
            .max_tokens(request.max_output_tokens)
            .sampling(sampling.sampling(&app)?)
            .truncate(request.truncation == Some(Truncation::Auto)),
    };
    generate.respond(&app, Responses::new(&app, model.name(), &request)).await
}

/// The conversation as the chat endpoint takes it.
fn messages(request: &ResponsesRequest) -> Vec<Message> {
    let text = |role, text: &str| Message::text(role, Content::Text(text.to_owned()));
    let mut messages: Vec<Message> =
        request.instructions.iter().map(|instructions| text(Role::System, instructions)).collect();
    match &request.input {
        Input::Text(content) => messages.push(text(Role::User, content)),
        Input::Items(items) => messages.extend(items.iter().map(|item| match item {
            Item::Message(MessageItem { role, content, .. }) => Message::text(*role, content.clone()),
            Item::Function(FunctionItem::FunctionCallOutput { call_id, output }) => {
                Message { tool_call_id: Some(call_id.clone()), ..text(Role::Tool, output) }
            }
            Item::Function(FunctionItem::FunctionCall { call_id, name, arguments }) => {
                let function = CalledFunction { name: name.clone(), arguments: arguments.clone() };
                let call = ToolCall { id: call_id.clone(), kind: "function".into(), function };
                Message { tool_calls: Some(vec![call]), ..text(Role::Assistant, "") }
            }
        })),
    }
    messages
}

/// OpenAI's API of responses.
struct Responses {
    app: Arc<App>,
    /// The response object, with the request's fields that it repeats.
    response: Value,
    /// Finished items.
    output: Vec<Value>,
    /// Id and text of the message that is being generated.
    message: Option<(String, String)>,
    /// Events that are not sent yet.
    events: Vec<Value>,
    /// The number of events so far.
    sequence: u64,
}

impl Dialect for Responses {
    const FRAMING: Framing = Framing::NamedEvents;
    const FIELDS: &[(&str, &str)] = &[
        ("prompt", "input"),
        ("messages", "input"),
        ("max_tokens", "max_output_tokens"),
        ("grammar", "text.format"),
        ("think", "reasoning.effort"),
    ];

    fn opening(&mut self) -> Vec<Value> {
        let response = json!({ "response": self.response });
        self.event("response.created", response.clone());
        self.event("response.in_progress", response);
        std::mem::take(&mut self.events)
    }

    fn delta(&mut self, _: usize, delta: Delta) -> Vec<Value> {
        match delta {
            Delta::Text { text, .. } => self.text(&text),
            Delta::Call(call) => self.call(&call),
            Delta::End(end) => self.end(&end),
        }
        std::mem::take(&mut self.events)
    }

    fn error(&mut self, error: &ApiError) -> Value {
        self.event("error", json!({ "code": error.code, "message": error.message, "param": error.param }));
        self.events.pop().unwrap_or_default()
    }

    /// The response that a stream would have ended with.
    fn body(&mut self, answers: Vec<(Answer, End)>, _: TokenCounts) -> Value {
        for (Answer { parts, .. }, end) in answers {
            parts.iter().for_each(|part| match part {
                Part::Text(text) => self.text(text),
                Part::Call(call) => self.call(call),
            });
            self.end(&end);
        }
        self.response.take()
    }
}

impl Responses {
    fn new(app: &Arc<App>, model: &str, request: &ResponsesRequest) -> Self {
        let response = json!({
            "id": app.id("resp"),
            "object": "response",
            "created_at": app::now(),
            "status": "in_progress",
            "error": null,
            "incomplete_details": null,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": request.metadata.clone().unwrap_or_default(),
            "model": model,
            "output": [],
            "parallel_tool_calls": request.parallel_tool_calls.unwrap_or(false),
            "previous_response_id": null,
            "store": false,
            "temperature": request.temperature.unwrap_or(1.0),
            "text": { "format": request.format().unwrap_or(&Format::Text) },
            "tool_choice": request.tool_choice.as_ref().unwrap_or(&FlatToolChoice::Mode(ToolChoiceMode::Auto)),
            "tools": request.tools,
            "top_p": request.top_p.unwrap_or(1.0),
            "truncation": if request.truncation == Some(Truncation::Auto) { "auto" } else { "disabled" },
            "usage": null,
            "user": request.user,
        });
        let (output, events) = (Vec::new(), Vec::new());
        Self { app: app.clone(), response, output, message: None, events, sequence: 0 }
    }

    fn event(&mut self, kind: &str, fields: Value) {
        let mut event = json!({ "type": kind, "sequence_number": self.sequence });
        self.sequence += 1;
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        self.events.push(event);
    }

    /// An event about the content of the message that is being generated.
    fn content_event(&mut self, kind: &str, id: &str, fields: Value) {
        let mut event = json!({ "item_id": id, "output_index": self.output.len(), "content_index": 0 });
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        self.event(kind, event);
    }

    fn item_event(&mut self, kind: &str, item: Value) {
        self.event(kind, json!({ "output_index": self.output.len(), "item": item }));
    }

    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let (id, before) = self.message.take().unwrap_or_else(|| {
            let id = self.app.id("msg");
            self.item_event("response.output_item.added", message(&id, "in_progress", json!([])));
            self.content_event("response.content_part.added", &id, json!({ "part": part("") }));
            (id, String::new())
        });
        self.content_event("response.output_text.delta", &id, json!({ "delta": text, "logprobs": [] }));
        self.message = Some((id, before + text));
    }

    fn end_message(&mut self, status: &str) {
        let Some((id, text)) = self.message.take() else { return };
        self.content_event("response.output_text.done", &id, json!({ "text": text, "logprobs": [] }));
        self.content_event("response.content_part.done", &id, json!({ "part": part(&text) }));
        let item = message(&id, status, json!([part(&text)]));
        self.item_event("response.output_item.done", item.clone());
        self.output.push(item);
    }

    fn call(&mut self, Call { name, arguments }: &Call) {
        self.end_message("completed");
        let (id, call_id, index) = (self.app.id("fc"), self.app.id("call"), self.output.len());
        let item = |arguments: &str, status: &str| {
            json!({
                "id": id,
                "type": "function_call",
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
                "status": status,
            })
        };
        let of_item = |name: &str| json!({ "item_id": id, "output_index": index, name: arguments });
        self.item_event("response.output_item.added", item("", "in_progress"));
        self.event("response.function_call_arguments.delta", of_item("delta"));
        self.event("response.function_call_arguments.done", of_item("arguments"));
        self.item_event("response.output_item.done", item(arguments, "completed"));
        self.output.push(item(arguments, "completed"));
    }

    fn end(&mut self, End { reason, usage, .. }: &End) {
        let incomplete = *reason == FinishReason::Length;
        let status = if incomplete { "incomplete" } else { "completed" };
        self.end_message(status);
        self.response["status"] = status.into();
        self.response["output"] = std::mem::take(&mut self.output).into();
        self.response["usage"] = usage_json(usage);
        if incomplete {
            self.response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        self.event(&format!("response.{status}"), json!({ "response": self.response }));
    }
}

fn message(id: &str, status: &str, content: Value) -> Value {
    json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": content })
}

fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

fn usage_json(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens },
        "output_tokens": usage.tokens,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": usage.prompt_tokens + usage.tokens,
    })
}
