//! Conversations and texts, and the token ids that the model reads.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::App;
use crate::error::ApiError;
use crate::tools::{self, Toolbox};

/// A message of a conversation.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The author of the message.
    pub role: Role,
    /// The text of the message. Default: empty.
    #[serde(default)]
    pub content: Option<Content>,
    /// Function calls that the assistant made in this message. Only `assistant` messages have them. Default: none.
    #[serde(default)]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The `id` of the call that a `tool` message answers. Default: none.
    #[serde(default)]
    pub tool_call_id: Option<String>,
    /// A name of the author. Accepted, not read.
    #[serde(default, rename = "name")]
    pub _name: Option<String>,
    /// A field of answers that clients send back. Accepted, not read.
    #[serde(default, rename = "refusal")]
    pub _refusal: Option<String>,
}

impl Message {
    /// A message without calls.
    pub fn text(role: Role, content: Content) -> Self {
        Self { role, content: Some(content), tool_calls: None, tool_call_id: None, _name: None, _refusal: None }
    }
}

/// The author of a message.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions for the model.
    System,
    /// OpenAI's newer name for `system`.
    Developer,
    /// The person who talks to the model.
    User,
    /// The model.
    Assistant,
    /// The result of a function call.
    Tool,
}

/// The text of a message, whole or in parts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Content {
    /// The whole text.
    Text(String),
    /// Parts of the text, which are joined without a separator.
    Parts(Vec<ContentPart>),
}

/// A part of a message. Only text is supported: no images, audio or files.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ContentPart {
    /// A part that is text.
    #[serde(alias = "input_text", alias = "output_text")]
    Text {
        /// The text of this part.
        text: String,
        /// A field of answers that clients send back. Accepted, not read.
        #[serde(default, rename = "annotations")]
        _annotations: Option<Value>,
        /// A field of answers that clients send back. Accepted, not read.
        #[serde(default, rename = "logprobs")]
        _logprobs: Option<Value>,
    },
}

/// A function call that the assistant made.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The id by which a `tool` message names the call that it answers. Default: empty.
    #[serde(default)]
    pub id: String,
    /// The kind of call; only "function" exists. Default: "function".
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// The function and its arguments.
    pub function: CalledFunction,
}

/// The function of a call, and its arguments.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalledFunction {
    /// The function's name.
    pub name: String,
    /// The arguments: a JSON object, written as a string.
    pub arguments: String,
}

fn function() -> String {
    "function".into()
}

impl Content {
    /// The whole text.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts.iter().map(|ContentPart::Text { text, .. }| text.as_str()).collect(),
        }
    }
}

/// One prompt or several. The BOS token goes before a text if the model wants one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Prompts {
    /// A conversation, which the model continues with a message of the assistant.
    #[serde(skip)]
    Chat(Vec<Message>),
    /// One text.
    Text(String),
    /// The token ids of one prompt.
    Tokens(Vec<u32>),
    /// Several texts.
    Texts(Vec<String>),
    /// The token ids of several prompts.
    TokenLists(Vec<Vec<u32>>),
}

impl Prompts {
    /// The number of prompts.
    pub fn len(&self) -> usize {
        match self {
            Self::Chat(_) | Self::Text(_) | Self::Tokens(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::TokenLists(lists) => lists.len(),
        }
    }

    /// The token ids of each prompt.
    ///
    /// # Errors
    /// 400 for conversations that the chat template cannot render.
    pub async fn encode(self, app: &Arc<App>, tools: &Arc<Toolbox>) -> Result<Vec<Vec<u32>>, ApiError> {
        let tools = tools.clone();
        let encode = move |app: &App| {
            let text = |text: &String| Ok(app.engine.tokenizer()?.encode_prompt(text)?);
            match self {
                Self::Chat(messages) => Ok(vec![render(app, &messages, &tools)?]),
                Self::Text(one) => Ok(vec![text(&one)?]),
                Self::Texts(texts) => texts.iter().map(text).collect(),
                Self::Tokens(tokens) => Ok(vec![tokens]),
                Self::TokenLists(lists) => Ok(lists),
            }
        };
        app.run_blocking(encode).await
    }
}

/// The token ids of a conversation, by the model's chat template.
fn render(app: &App, messages: &[Message], tools: &Toolbox) -> Result<Vec<u32>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "messages is empty; it needs at least one message"));
    }
    let template = app.engine.template()?;
    let native = template.knows_tools();
    let mut values = messages.iter().enumerate().map(|(at, m)| value(at, m, native)).collect::<Result<Vec<_>, _>>()?;
    let listed = if native { tools.for_template() } else { Vec::new() };
    if !native && !tools.is_empty() {
        let description = tools.description();
        match values.first_mut().filter(|first| first["role"] == "system") {
            Some(system) => {
                let before = system["content"].as_str().unwrap_or_default();
                system["content"] = format!("{before}\n\n{description}").into();
            }
            None => values.insert(0, json!({ "role": "system", "content": description })),
        }
    }
    Ok(template.encode_values(app.engine.tokenizer()?, &values, &listed)?)
}

/// A message as chat templates read it. Templates that are not `native` know no functions: calls and results become text.
fn value(at: usize, message: &Message, native: bool) -> Result<Value, ApiError> {
    let text = message.content.as_ref().map(Content::text).unwrap_or_default();
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    if !calls.is_empty() && message.role != Role::Assistant {
        let field = format!("messages[{at}].tool_calls");
        return Err(ApiError::field(field, "only messages with the role assistant have tool_calls"));
    }
    let calls = calls.iter().enumerate().map(|(call, ToolCall { id, function, .. })| {
        let arguments: Value = serde_json::from_str(&function.arguments).map_err(|error| {
            let field = format!("messages[{at}].tool_calls[{call}].function.arguments");
            ApiError::field(field.clone(), format!("{field} is not valid JSON: {error}"))
        })?;
        Ok((id, function.name.as_str(), arguments))
    });
    let calls = calls.collect::<Result<Vec<_>, ApiError>>()?;
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
