//! `/v1/responses`: OpenAI's newer way to ask, text and functions only.
//!
//! ```text
//! created, in_progress ─► (output_item.added ─► content_part.added ─► output_text.delta … done ─► …done) … ─► completed
//! ```
//! Source: <https://platform.openai.com/docs/api-reference/responses>.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream::{self, StreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sterna::engine::{FinishReason, Request, Usage};
use sterna_grammar::{Form, listed_only};

use super::{Answer, Endpoint};
use crate::app::{self, App};
use crate::body::Body;
use crate::error::Refusal;
use crate::prompt::{self, Called, Content, Message, Role, ToolCall};
use crate::sampling::Drawing;
use crate::stream::named_events;
use crate::tools::{Call, Choice, Function, Mode, Name, One, Tool, Toolbox};
use crate::turn::{Said, Turn};

pub const ENDPOINT: Endpoint = Endpoint {
    path: "/v1/responses",
    method: "post",
    summary: "The next message of a conversation, in OpenAI's newer form",
    request: Some(|schemas| schemas.subschema_for::<Responses>()),
    answer: Answer::or_events("text/event-stream"),
    route: || post(respond),
};

/// What was said, and what comes next shall be like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Responses {
    /// A text, or what was said so far.
    input: Input,
    /// The server's model; the same if not given.
    model: Option<String>,
    /// What the model is told before everything else.
    instructions: Option<String>,
    /// Tokens of the answer at most.
    #[schemars(range(min = 1))]
    max_output_tokens: Option<usize>,
    /// Whether the answer comes as events.
    stream: Option<bool>,
    /// 0: always the likeliest token. 1 if not given.
    temperature: Option<f32>,
    /// Draw from the likeliest tokens that have this probability together.
    top_p: Option<f32>,
    /// What the answer must look like.
    text: Option<TextOptions>,
    /// Functions that may be called.
    #[serde(default)]
    tools: Vec<FlatTool>,
    /// Whether they are.
    tool_choice: Option<FlatChoice>,
    /// Whether several may be called at once.
    parallel_tool_calls: Option<bool>,
    /// "disabled": a conversation that is too long is an error.
    truncation: Option<Truncation>,
    /// Answers are never stored.
    store: Option<bool>,
    /// More that the answer shall hold.
    #[serde(rename = "include")]
    _include: Option<Vec<Include>>,
    /// Notes of the client, given back.
    metadata: Option<Map<String, Value>>,
    /// Who asks; given back.
    user: Option<String>,
    /// The same, in OpenAI's newer words; not read.
    #[serde(rename = "safety_identifier")]
    _safety_identifier: Option<String>,
    /// Which requests begin alike; the server sees that by itself.
    #[serde(rename = "prompt_cache_key")]
    _prompt_cache_key: Option<String>,
}

impl Responses {
    fn format(&self) -> Option<&Format> {
        self.text.as_ref()?.format.as_ref()
    }
}

/// A text, or what was said so far.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Input {
    /// What the user says.
    Text(String),
    /// The conversation.
    Items(Vec<Item>),
}

/// Something that was said, called or returned.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Item {
    /// A function's call or result.
    Function(FunctionItem),
    /// A message.
    Message(MessageItem),
}

/// A message.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct MessageItem {
    /// Who says it.
    role: Role,
    /// What is said.
    content: Content,
}

/// A function's call or result.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FunctionItem {
    /// The model called it.
    FunctionCall {
        /// What its result names.
        call_id: String,
        /// Its name.
        name: String,
        /// A JSON object, as text.
        arguments: String,
    },
    /// What it returned.
    FunctionCallOutput {
        /// The call.
        call_id: String,
        /// The result.
        output: String,
    },
}

/// What the answer must look like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextOptions {
    /// Its form.
    format: Option<Format>,
}

/// The form of an answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Format {
    /// Anything.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that is valid by a schema.
    JsonSchema {
        /// For the client.
        #[serde(rename = "name")]
        _name: String,
        /// The JSON schema.
        schema: Value,
        /// For the client.
        #[serde(rename = "description")]
        _description: Option<String>,
        /// Answers are always valid by it.
        #[serde(rename = "strict")]
        _strict: Option<bool>,
    },
}

/// A function that may be called.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FlatTool {
    /// The only kind there is.
    Function(Function),
}

/// Whether functions are called.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum FlatChoice {
    /// "none", "auto" or "required".
    Mode(Mode),
    /// This function.
    One(FlatOne),
}

/// The function that must be called.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FlatOne {
    /// By name.
    Function {
        /// Its name.
        name: String,
    },
}

/// What an answer can hold besides its text and calls.
#[derive(Debug, Deserialize, JsonSchema)]
pub enum Include {
    /// How the model reasoned: these models write nothing of that.
    #[serde(rename = "reasoning.encrypted_content")]
    Reasoning,
}

/// What happens to a conversation that is too long.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// It is an error.
    Disabled,
    /// Its oldest tokens are dropped.
    Auto,
}

async fn respond(State(app): State<Arc<App>>, Body(request): Body<Responses>) -> Result<Response, Refusal> {
    app.check_model(request.model.as_deref())?;
    if request.store == Some(true) {
        return Err(Refusal::unsupported("store", "leave it out: answers are never stored"));
    }
    let tools: Vec<Tool> =
        request.tools.iter().cloned().map(|FlatTool::Function(function)| Tool::Function { function }).collect();
    let choice = request.tool_choice.as_ref().map(|choice| match choice {
        FlatChoice::Mode(mode) => Choice::Mode(*mode),
        FlatChoice::One(FlatOne::Function { name }) => {
            Choice::One(One::Function { function: Name { name: name.clone() } })
        }
    });
    let tools = Arc::new(Toolbox::new(tools, choice, request.parallel_tool_calls.unwrap_or(true))?);
    let form = request.format().and_then(|format| match format {
        Format::Text => None,
        Format::JsonObject => Some(Form::Object),
        Format::JsonSchema { schema, .. } => Some(Form::Schema(listed_only(schema.clone()))),
    });
    let drawing = Drawing { temperature: request.temperature, top_p: request.top_p, ..Drawing::default() };
    let sampling = drawing.sampling(&app)?;
    let place = app.enter()?;
    let asked = Request {
        prompt: prompt::encode(&app, messages(&request), &tools).await?,
        max_tokens: request.max_output_tokens,
        sampling,
        grammar: app.grammar(form, &tools, "text.format").await?,
        truncate: request.truncation == Some(Truncation::Auto),
        ..Request::default()
    };
    let turn = Turn::start(&app, place, asked, tools)?;
    let streamed = request.stream == Some(true);
    let reply = Reply::new(app, &request);
    if streamed { Ok(reply.stream(turn)) } else { reply.whole(turn).await }
}

/// The conversation in the words of the chat endpoint.
fn messages(request: &Responses) -> Vec<Message> {
    let text = |role, text: &str| Message::text(role, Content::Text(text.to_owned()));
    let mut messages: Vec<Message> = request.instructions.iter().map(|told| text(Role::System, told)).collect();
    match &request.input {
        Input::Text(said) => messages.push(text(Role::User, said)),
        Input::Items(items) => messages.extend(items.iter().map(|item| match item {
            Item::Message(MessageItem { role, content }) => Message::text(*role, content.clone()),
            Item::Function(FunctionItem::FunctionCallOutput { call_id, output }) => {
                Message { tool_call_id: Some(call_id.clone()), ..text(Role::Tool, output) }
            }
            Item::Function(FunctionItem::FunctionCall { call_id, name, arguments }) => {
                let function = Called { name: name.clone(), arguments: arguments.clone() };
                let call = ToolCall { id: call_id.clone(), kind: "function".into(), function };
                Message { tool_calls: Some(vec![call]), ..text(Role::Assistant, "") }
            }
        })),
    }
    messages
}

/// A response while it comes into being.
struct Reply {
    app: Arc<App>,
    /// What is given back, and what is there so far.
    response: Value,
    /// Finished items.
    output: Vec<Value>,
    /// The message that is being written, and its text.
    message: Option<(String, String)>,
    events: u64,
}

impl Reply {
    fn new(app: Arc<App>, request: &Responses) -> Self {
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
            "model": app.settings.model,
            "output": [],
            "parallel_tool_calls": request.parallel_tool_calls.unwrap_or(true),
            "previous_response_id": null,
            "store": false,
            "temperature": request.temperature.unwrap_or(1.0),
            "text": { "format": request.format().unwrap_or(&Format::Text) },
            "tool_choice": request.tool_choice.as_ref().unwrap_or(&FlatChoice::Mode(Mode::Auto)),
            "tools": request.tools,
            "top_p": request.top_p.unwrap_or(1.0),
            "truncation": if request.truncation == Some(Truncation::Auto) { "auto" } else { "disabled" },
            "usage": null,
            "user": request.user,
        });
        Self { app, response, output: Vec::new(), message: None, events: 0 }
    }

    async fn whole(mut self, mut turn: Turn) -> Result<Response, Refusal> {
        loop {
            let said = turn.next().await.ok_or_else(Refusal::stopping)??;
            let ended = matches!(said, Said::End { .. });
            self.says(said);
            if ended {
                return Ok(Json(self.response).into_response());
            }
        }
    }

    fn stream(mut self, turn: Turn) -> Response {
        let response = self.response.clone();
        let begin =
            ["response.created", "response.in_progress"].map(|kind| self.event(kind, json!({ "response": response })));
        let rest = stream::unfold((self, turn), |(mut reply, mut turn)| async move {
            let events = match turn.next().await? {
                Ok(said) => reply.says(said),
                Err(refusal) => {
                    let error = json!({ "code": refusal.code, "message": refusal.message, "param": refusal.param });
                    vec![reply.event("error", error)]
                }
            };
            Some((events, (reply, turn)))
        });
        named_events(stream::iter(begin).chain(rest.flat_map(stream::iter)))
    }

    fn event(&mut self, kind: &str, fields: Value) -> Value {
        let mut event = json!({ "type": kind, "sequence_number": self.events });
        self.events += 1;
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        event
    }

    /// What happens when something is said.
    fn says(&mut self, said: Said) -> Vec<Value> {
        match said {
            Said::Text { text, .. } if text.is_empty() => Vec::new(),
            Said::Text { text, .. } => self.writes(&text),
            Said::Call(call) => {
                let mut events = self.ends_message("completed");
                events.extend(self.calls(&call));
                events
            }
            Said::End { reason, usage, .. } => {
                let cut = reason == FinishReason::Length;
                let status = if cut { "incomplete" } else { "completed" };
                let mut events = self.ends_message(status);
                self.response["status"] = status.into();
                self.response["output"] = std::mem::take(&mut self.output).into();
                self.response["usage"] = usage_json(&usage);
                if cut {
                    self.response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
                }
                let response = self.response.clone();
                events.push(self.event(&format!("response.{status}"), json!({ "response": response })));
                events
            }
        }
    }

    fn writes(&mut self, text: &str) -> Vec<Value> {
        let (mut events, index) = (Vec::new(), self.output.len());
        if self.message.is_none() {
            let id = self.app.id("msg");
            let item =
                json!({ "id": id, "type": "message", "status": "in_progress", "role": "assistant", "content": [] });
            events.push(self.event("response.output_item.added", json!({ "output_index": index, "item": item })));
            let part = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part("") });
            events.push(self.event("response.content_part.added", part));
            self.message = Some((id, String::new()));
        }
        if let Some((id, written)) = &mut self.message {
            written.push_str(text);
            let delta =
                json!({ "item_id": id, "output_index": index, "content_index": 0, "delta": text, "logprobs": [] });
            events.push(self.event("response.output_text.delta", delta));
        }
        events
    }

    fn ends_message(&mut self, status: &str) -> Vec<Value> {
        let Some((id, text)) = self.message.take() else { return Vec::new() };
        let index = self.output.len();
        let of_part = |name: &str, value: Value| {
            let mut fields = json!({ "item_id": id, "output_index": index, "content_index": 0 });
            fields[name] = value;
            fields
        };
        let mut done = of_part("text", text.as_str().into());
        done["logprobs"] = json!([]);
        let item = json!({
            "id": id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [part(&text)],
        });
        self.output.push(item.clone());
        vec![
            self.event("response.output_text.done", done),
            self.event("response.content_part.done", of_part("part", part(&text))),
            self.event("response.output_item.done", json!({ "output_index": index, "item": item })),
        ]
    }

    fn calls(&mut self, Call { name, arguments }: &Call) -> Vec<Value> {
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
        let done = item(arguments, "completed");
        self.output.push(done.clone());
        let added = json!({ "output_index": index, "item": item("", "in_progress") });
        vec![
            self.event("response.output_item.added", added),
            self.event("response.function_call_arguments.delta", of_item("delta")),
            self.event("response.function_call_arguments.done", of_item("arguments")),
            self.event("response.output_item.done", json!({ "output_index": index, "item": done })),
        ]
    }
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
