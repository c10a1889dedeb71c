//! `/api/chat`: the next message of a conversation.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Ollama, Options, form, load_or_unload, refuse_images};
use crate::app::App;
use crate::body::Body;
use crate::conversation::Generate;
use crate::error::ApiError;
use crate::keep_alive::KeepAlive;
use crate::prompt::{CalledFunction, Content, Message, Prompts, Role, ToolCall};
use crate::think::Think;
use crate::tools::{Call, Tool, Toolbox};

/// A conversation, and how its next message is generated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OllamaChatRequest")]
pub struct ChatRequest {
    /// Name of the model.
    model: String,
    /// The messages so far, oldest first. Without any the model is loaded, or unloaded with a `keep_alive` of 0. Default: none.
    #[serde(default)]
    messages: Vec<OllamaMessage>,
    /// Functions that the model may call, at most 128. Default: none.
    #[serde(default)]
    tools: Vec<Tool>,
    /// Form that the answer must have: "json", or a JSON schema; not together with `tools`. Default: any text.
    #[serde(default)]
    format: Option<Value>,
    /// Sampling parameters and limits. Default: those of its fields.
    #[serde(default)]
    options: Option<Options>,
    /// Let the model think before it answers, with an effort if the template tells efforts apart; both need a template
    /// with a switch. Default: the template's.
    think: Option<Think>,
    /// How long the model stays in memory after the answer: seconds, or a text like "5m"; negative: without end. At most the
    /// server's own time. Default: the server's own time.
    keep_alive: Option<Value>,
    /// Send the answer as lines of JSON while it is generated. Default: true.
    stream: Option<bool>,
}

/// A message of a conversation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OllamaMessage {
    /// The author of the message.
    role: Role,
    /// The text of the message. Default: empty.
    content: Option<String>,
    /// Function calls that the assistant made in this message. Only `assistant` messages have them. Default: none.
    tool_calls: Option<Vec<OllamaCall>>,
    /// Images; only an empty list is supported. Default: none.
    #[serde(default)]
    images: Vec<String>,
}

/// A function call that the assistant made.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct OllamaCall {
    /// The function and its arguments.
    function: OllamaCalledFunction,
}

/// The function of a call, and its arguments.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct OllamaCalledFunction {
    /// The function's name.
    name: String,
    /// The arguments. Default: none.
    #[serde(default)]
    arguments: Value,
}

impl OllamaMessage {
    /// The message as OpenAI's chat endpoint takes it; `at` is its index in `messages`.
    fn message(self, at: usize) -> Result<Message, ApiError> {
        refuse_images(&format!("messages[{at}].images"), &self.images)?;
        let call = |OllamaCall { function }: OllamaCall| {
            let function = CalledFunction { name: function.name, arguments: function.arguments };
            ToolCall { id: String::new(), kind: "function".into(), function }
        };
        let calls: Vec<ToolCall> = self.tool_calls.into_iter().flatten().map(call).collect();
        let tool_calls = Some(calls).filter(|calls| !calls.is_empty());
        Ok(Message { tool_calls, ..Message::text(self.role, Content::Text(self.content.unwrap_or_default())) })
    }
}

/// Puts text and calls into an object's `message`.
fn content(object: &mut Value, text: &str, calls: &[&Call]) {
    object["message"] = json!({ "role": "assistant", "content": text });
    if !calls.is_empty() {
        let call = |Call { name, arguments }: &&Call| {
            let arguments: Value = serde_json::from_str(arguments).unwrap_or_default();
            json!({ "function": { "name": name, "arguments": arguments } })
        };
        object["message"]["tool_calls"] = calls.iter().map(call).collect();
    }
}

pub async fn chat(State(app): State<Arc<App>>, Body(request): Body<ChatRequest>) -> Result<Response, ApiError> {
    let keep_alive = KeepAlive::of_field(request.keep_alive.as_ref())?;
    if request.messages.is_empty() {
        return load_or_unload(&app, &request.model, keep_alive, content).await;
    }
    let model = app.model_for(Some(&request.model), keep_alive).await?;
    let dialect = Ollama { model: model.clone(), content };
    let messages = request.messages.into_iter().enumerate().map(|(at, message)| message.message(at));
    let generate = Generate {
        model,
        tools: Toolbox::new(request.tools, None, true)?,
        prompts: Prompts::Chat {
            messages: messages.collect::<Result<_, _>>()?,
            think: request.think,
            prefill: String::new(),
        },
        count: 1,
        form: form(request.format)?,
        stream: request.stream.unwrap_or(true),
        request: request.options.unwrap_or_default().request(&app)?,
    };
    generate.respond(&app, dialect).await
}
