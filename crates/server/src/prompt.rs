//! Conversations and texts, and the token ids that the model reads.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sterna::text::ChatTemplate;

use crate::error::ApiError;
use crate::model::Model;
use crate::think::Think;
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
}

impl Message {
    /// A message without calls.
    pub fn text(role: Role, content: Content) -> Self {
        Self { role, content: Some(content), tool_calls: None, tool_call_id: None }
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
    Text {
        /// The text of this part.
        text: String,
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
    /// The arguments: a JSON object, or one written as a string. Default: none.
    #[serde(default)]
    pub arguments: Value,
}

impl CalledFunction {
    /// The arguments as chat templates read them. A string that is no JSON object stays a string: a model once wrote it, and
    /// the conversation must go on.
    fn arguments(&self) -> Value {
        match &self.arguments {
            Value::Null => json!({}),
            Value::String(text) if text.trim().is_empty() => json!({}),
            Value::String(text) => match serde_json::from_str(text) {
                Ok(Value::Null) => json!({}),
                Ok(arguments @ Value::Object(_)) => arguments,
                _ => text.as_str().into(),
            },
            arguments => arguments.clone(),
        }
    }
}

fn function() -> String {
    "function".into()
}

impl Content {
    /// The whole text.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => parts.iter().map(|ContentPart::Text { text }| text.as_str()).collect(),
        }
    }
}

/// One prompt or several. The BOS token goes before a text if the model wants one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Prompts {
    /// A conversation, which the model continues with a message of the assistant.
    #[serde(skip)]
    Chat {
        messages: Vec<Message>,
        /// Whether the model thinks before it answers; `None` leaves it to the template.
        think: Option<Think>,
        /// The beginning of that message, which the answer goes on with and does not repeat.
        prefill: String,
    },
    /// One text in which special tokens are text, for models without a chat template.
    #[serde(skip)]
    Plain(String),
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
            Self::Chat { .. } | Self::Plain(_) | Self::Text(_) | Self::Tokens(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::TokenLists(lists) => lists.len(),
        }
    }

    /// The token ids of each prompt. `limit` is the number of tokens that a conversation must stay below, if it is not cut.
    ///
    /// # Errors
    /// 400 for conversations that the chat template cannot render, and for those whose tools take them to the limit.
    pub async fn encode(
        self,
        model: &Arc<Model>,
        tools: &Arc<Toolbox>,
        limit: Option<usize>,
    ) -> Result<Vec<Vec<u32>>, ApiError> {
        let tools = tools.clone();
        let encode = move |model: &Model| {
            let text = |text: &String| Ok(model.engine.tokenizer()?.encode_prompt(text)?);
            match self {
                Self::Chat { messages, think, prefill } => {
                    let mut prompt = render(model, &messages, &tools, think)?;
                    let begun = match &*prefill {
                        "" => Vec::new(),
                        text => model.engine.tokenizer()?.encode_plain(text)?,
                    };
                    let len = prompt.len() + begun.len();
                    if let Some(context) = limit.filter(|limit| len >= *limit && !tools.is_empty()) {
                        let others = render(model, &messages, &Toolbox::default(), think)?.len();
                        return Err(ApiError::tools(len, prompt.len().saturating_sub(others), tools.len(), context));
                    }
                    prompt.extend(begun);
                    Ok(vec![prompt])
                }
                Self::Plain(one) => Ok(vec![model.engine.tokenizer()?.encode_plain_prompt(&one)?]),
                Self::Text(one) => Ok(vec![text(&one)?]),
                Self::Texts(texts) => texts.iter().map(text).collect(),
                Self::Tokens(tokens) => Ok(vec![tokens]),
                Self::TokenLists(lists) => Ok(lists),
            }
        };
        model.run_blocking(encode).await
    }
}

/// The token ids of a conversation, by the model's chat template.
fn render(model: &Model, messages: &[Message], tools: &Toolbox, think: Option<Think>) -> Result<Vec<u32>, ApiError> {
    if messages.is_empty() {
        return Err(ApiError::field("messages", "messages is empty; it needs at least one message"));
    }
    let template = model.engine.template()?;
    let knows = template.knows_thinking();
    let switched = think.filter(|_| knows).map(|think| template.with_thinking(think.is_on(), think.effort()));
    if think.is_some_and(Think::is_on) && switched.is_none() {
        return Err(ApiError::unsupported("think", "the model's template has no switch for thinking: leave it out"));
    }
    let template = switched.as_ref().unwrap_or(template);
    let native = template.knows_tools();
    let values = messages.iter().enumerate().map(|(at, m)| value(at, m, native)).collect::<Result<Vec<_>, _>>()?;
    let tokenizer = model.engine.tokenizer()?;
    let results: Vec<bool> = messages.iter().map(|message| message.role == Role::Tool).collect();
    if native || tools.is_empty() && !results.contains(&true) {
        let listed = if native { tools.for_template() } else { Vec::new() };
        return Ok(template.encode_values(tokenizer, &values, &listed)?);
    }
    let description = (!tools.is_empty()).then(|| tools.description());
    let values = arranged(template, &values, &results, description.as_deref())?;
    Ok(template.encode_values(tokenizer, &values, &[])?)
}

/// Messages for a template that knows no functions: with their description, and with their results, which `results` says of
/// each message, as messages of the user.
///
/// The description is in the system message, or at the beginning of the first user message if the template refuses system
/// messages or leaves them out. A result is joined with the user message beside it if the template wants roles to
/// alternate.
fn arranged(
    template: &ChatTemplate,
    messages: &[Value],
    results: &[bool],
    description: Option<&str>,
) -> Result<Vec<Value>, ApiError> {
    let mut refused = None;
    for joined in [false, true] {
        let messages = if joined { with_joined_results(messages, results) } else { messages.to_vec() };
        for describe in [in_system, in_first_question] {
            let messages = description.map_or_else(|| messages.clone(), |text| describe(messages.clone(), text));
            match template.render_prompt_values(&messages, &[]) {
                Ok(text) if description.is_none_or(|description| text.contains(description)) => return Ok(messages),
                Ok(_) => {}
                Err(error) => refused = refused.or(Some(error)),
            }
        }
    }
    match refused {
        Some(error) => Err(error.into()),
        // The template changes every text, so that the description cannot be found.
        None => Ok(description.map_or_else(|| messages.to_vec(), |text| in_system(messages.to_vec(), text))),
    }
}

/// Adds text to the system message, which is made if there is none.
fn in_system(mut messages: Vec<Value>, text: &str) -> Vec<Value> {
    match messages.first_mut().filter(|first| first["role"] == "system") {
        Some(system) => {
            let before = system["content"].as_str().unwrap_or_default();
            system["content"] = format!("{before}\n\n{text}").into();
        }
        None => messages.insert(0, json!({ "role": "system", "content": text })),
    }
    messages
}

/// Puts text before the first user message.
fn in_first_question(mut messages: Vec<Value>, text: &str) -> Vec<Value> {
    if let Some(user) = messages.iter_mut().find(|message| message["role"] == "user") {
        let question = user["content"].as_str().unwrap_or_default();
        user["content"] = format!("{text}\n\n{question}").into();
    }
    messages
}

/// Joins results with the user messages beside them.
fn with_joined_results(messages: &[Value], results: &[bool]) -> Vec<Value> {
    let mut joined: Vec<(Value, bool)> = Vec::new();
    for (message, &result) in messages.iter().zip(results) {
        match joined.last_mut() {
            Some((last, of_tool)) if last["role"] == message["role"] && (*of_tool || result) => {
                let texts = [&*last, message].map(|message| message["content"].as_str().unwrap_or_default());
                last["content"] = texts.join("\n").into();
                *of_tool = result;
            }
            _ => joined.push((message.clone(), result)),
        }
    }
    joined.into_iter().map(|(message, _)| message).collect()
}

/// A message as chat templates read it. Templates that are not `native` know no functions: calls and results become text.
fn value(at: usize, message: &Message, native: bool) -> Result<Value, ApiError> {
    let text = message.content.as_ref().map(Content::text).unwrap_or_default();
    let calls = message.tool_calls.as_deref().unwrap_or_default();
    if !calls.is_empty() && message.role != Role::Assistant {
        let field = format!("messages[{at}].tool_calls");
        return Err(ApiError::field(field, "only messages with the role assistant have tool_calls"));
    }
    let calls = calls.iter().map(|ToolCall { id, function, .. }| (id, function.name.as_str(), function.arguments()));
    let calls: Vec<_> = calls.collect();
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
