//! Conversations, and the tokens they become.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::Refusal;
use crate::tools::{self, Toolbox};

/// One message.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    #[serde(default)]
    pub content: Option<Content>,
    /// The calls that the assistant made.
    #[serde(default)]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a `tool` message answers.
    #[serde(default)]
    pub tool_call_id: Option<String>,
    /// A name for the speaker; models do not see it.
    #[serde(default, rename = "name")]
    pub _name: Option<String>,
    /// As clients send back what they got; not read.
    #[serde(default, rename = "refusal")]
    pub _refusal: Option<String>,
}

impl Message {
    /// A message that is only text.
    pub fn text(role: Role, content: Content) -> Self {
        Self { role, content: Some(content), tool_calls: None, tool_call_id: None, _name: None, _refusal: None }
    }
}

/// Who says a message.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions.
    System,
    /// OpenAI's newer word for the same.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// What a function returned.
    Tool,
}

/// Text, in one piece or in several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Content {
    /// In one piece.
    Text(String),
    /// In several.
    Parts(Vec<Part>),
}

/// A piece of a message. Images, sounds and files are not read by these models.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    /// Text.
    #[serde(alias = "input_text", alias = "output_text")]
    Text {
        /// It.
        text: String,
        /// As clients send back what they got; not read.
        #[serde(default, rename = "annotations")]
        _annotations: Option<Value>,
        /// The same.
        #[serde(default, rename = "logprobs")]
        _logprobs: Option<Value>,
    },
}

/// A call that the assistant made.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// What its answer names.
    #[serde(default)]
    pub id: String,
    /// "function".
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// Which, and with what.
    pub function: Called,
}

/// A function that was called.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Called {
    /// Its name.
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}

fn function() -> String {
    "function".into()
}

impl Content {
    /// The text in one piece.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts.iter().map(|Part::Text { text, .. }| text.as_str()).collect(),
        }
    }
}

/// Tokens of a conversation that the model is to go on with.
pub async fn encode(app: &Arc<App>, messages: Vec<Message>, tools: &Arc<Toolbox>) -> Result<Vec<u32>, Refusal> {
    let tools = tools.clone();
    app.aside(move |app| tokens(app, &messages, &tools)).await
}

fn tokens(app: &App, messages: &[Message], tools: &Toolbox) -> Result<Vec<u32>, Refusal> {
    if messages.is_empty() {
        return Err(Refusal::field("messages", "messages is empty; it needs one at least"));
    }
    let template = app.engine.template()?;
    let native = template.knows_tools();
    let mut values = messages.iter().enumerate().map(|(at, m)| value(at, m, native)).collect::<Result<Vec<_>, _>>()?;
    let shown = if native { tools.for_template() } else { Vec::new() };
    if !native && !tools.is_empty() {
        let described = tools.described();
        match values.first_mut().filter(|first| first["role"] == "system") {
            Some(system) => {
                let before = system["content"].as_str().unwrap_or_default();
                system["content"] = format!("{before}\n\n{described}").into();
            }
            None => values.insert(0, json!({ "role": "system", "content": described })),
        }
    }
    Ok(template.encode_values(app.engine.tokenizer()?, &values, &shown)?)
}

/// A message as templates see it; without `native`, functions are text.
fn value(at: usize, message: &Message, native: bool) -> Result<Value, Refusal> {
    let text = message.content.as_ref().map(Content::text).unwrap_or_default();
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    if !calls.is_empty() && message.role != Role::Assistant {
        let field = format!("messages[{at}].tool_calls");
        return Err(Refusal::field(field, "only messages of the assistant have tool_calls"));
    }
    let calls = calls.iter().enumerate().map(|(call, ToolCall { id, function, .. })| {
        let arguments: Value = serde_json::from_str(&function.arguments).map_err(|error| {
            let field = format!("messages[{at}].tool_calls[{call}].function.arguments");
            Refusal::field(field.clone(), format!("{field} is no JSON: {error}"))
        })?;
        Ok((id, function.name.as_str(), arguments))
    });
    let calls = calls.collect::<Result<Vec<_>, Refusal>>()?;
    Ok(match message.role {
        Role::System | Role::Developer => json!({ "role": "system", "content": text }),
        Role::User => json!({ "role": "user", "content": text }),
        Role::Tool if native => json!({ "role": "tool", "content": text, "tool_call_id": message.tool_call_id }),
        Role::Tool => json!({ "role": "user", "content": tools::returned(&text) }),
        Role::Assistant if calls.is_empty() => json!({ "role": "assistant", "content": text }),
        Role::Assistant if native => {
            let call = |(id, name, arguments): &(&String, &str, Value)| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
            json!({ "role": "assistant", "content": text, "tool_calls": calls.iter().map(call).collect::<Vec<_>>() })
        }
        Role::Assistant => {
            let written = calls.iter().map(|(_, name, arguments)| tools::written(name, arguments));
            let texts: Vec<String> = [text].into_iter().filter(|text| !text.is_empty()).chain(written).collect();
            json!({ "role": "assistant", "content": texts.join("\n") })
        }
    })
}
