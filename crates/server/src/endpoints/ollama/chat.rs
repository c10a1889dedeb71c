//! `/api/chat`: answers in a conversation.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sterna::engine::Request;

use super::{Options, Shape, form, loaded, no_images, no_thoughts, streamed, whole};
use crate::app::App;
use crate::body::Body;
use crate::endpoints::{Answer, Endpoint};
use crate::error::Refusal;
use crate::prompt::{self, Called, Content, Message, Role, ToolCall};
use crate::tools::{Call, Tool, Toolbox};
use crate::turn::Turn;

pub const ENDPOINT: Endpoint = Endpoint {
    path: "/api/chat",
    method: "post",
    summary: "The next message of a conversation",
    request: Some(|schemas| schemas.subschema_for::<OllamaChat>()),
    answer: Answer::or_events("application/x-ndjson"),
    route: || post(chat),
};

/// A conversation, and what its next message shall be like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OllamaChat {
    /// The server's model.
    model: String,
    /// The messages so far. Without any the model is said to be loaded.
    #[serde(default)]
    messages: Vec<OllamaMessage>,
    /// Functions that may be called.
    #[serde(default)]
    tools: Vec<Tool>,
    /// "json", or a JSON schema of the answer.
    #[serde(default)]
    format: Option<Value>,
    /// How tokens are drawn.
    #[serde(default)]
    options: Option<Options>,
    /// Whether the answer comes in pieces; it does if this is not given.
    stream: Option<bool>,
    /// The model stays.
    #[serde(rename = "keep_alive")]
    _keep_alive: Option<Value>,
    /// There is nothing but the answer.
    think: Option<bool>,
}

/// One message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OllamaMessage {
    /// Who says it.
    role: Role,
    /// What is said.
    content: Option<String>,
    /// The calls that the assistant made.
    tool_calls: Option<Vec<OllamaCall>>,
    /// The function that a `tool` message answers for; models see the order only.
    #[serde(rename = "tool_name")]
    _tool_name: Option<String>,
    /// These models see none.
    #[serde(default)]
    images: Vec<String>,
}

/// A call that the assistant made.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct OllamaCall {
    function: OllamaCalled,
}

/// A function that was called.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct OllamaCalled {
    name: String,
    #[serde(default)]
    arguments: Map<String, Value>,
}

impl OllamaMessage {
    fn message(self, at: usize) -> Result<Message, Refusal> {
        no_images(&format!("messages[{at}].images"), &self.images)?;
        let call = |OllamaCall { function }: OllamaCall| ToolCall {
            id: String::new(),
            kind: "function".into(),
            function: Called { name: function.name, arguments: Value::Object(function.arguments).to_string() },
        };
        let calls: Vec<ToolCall> = self.tool_calls.into_iter().flatten().map(call).collect();
        let tool_calls = Some(calls).filter(|calls| !calls.is_empty());
        Ok(Message { tool_calls, ..Message::text(self.role, Content::Text(self.content.unwrap_or_default())) })
    }
}

struct InMessage;

impl Shape for InMessage {
    fn said(&self, mut object: Value, text: &str, calls: &[Call]) -> Value {
        object["message"] = json!({ "role": "assistant", "content": text });
        if !calls.is_empty() {
            let call = |Call { name, arguments }: &Call| {
                let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
                json!({ "function": { "name": name, "arguments": arguments } })
            };
            object["message"]["tool_calls"] = calls.iter().map(call).collect();
        }
        object
    }
}

async fn chat(State(app): State<Arc<App>>, Body(request): Body<OllamaChat>) -> Result<Response, Refusal> {
    app.check_model(Some(&request.model))?;
    no_thoughts(request.think)?;
    if request.messages.is_empty() {
        return Ok(loaded(&app, InMessage));
    }
    let tools = Arc::new(Toolbox::new(request.tools, None, true)?);
    let messages = request.messages.into_iter().enumerate().map(|(at, message)| message.message(at));
    let messages = messages.collect::<Result<Vec<_>, _>>()?;
    let (form, options) = (form(request.format)?, request.options.unwrap_or_default().request(&app)?);
    let place = app.enter()?;
    let asked = Request {
        prompt: prompt::encode(&app, messages, &tools).await?,
        grammar: app.grammar(form, &tools, "format").await?,
        ..options
    };
    let turn = Turn::start(&app, place, asked, tools)?;
    if request.stream == Some(false) { whole(&app, turn, InMessage).await } else { Ok(streamed(app, turn, InMessage)) }
}
