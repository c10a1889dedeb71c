//! Requests of Anthropic's API, and the conversation in them as other endpoints take it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use sterna::engine::Request;
use sterna_grammar::{Form, listed_only};

use crate::app::App;
use crate::conversation::Generate;
use crate::error::ApiError;
use crate::model::Model;
use crate::prompt::{CalledFunction, Content, Message, Prompts, Role, ToolCall};
use crate::sampling::{SamplingParams, Stop};
use crate::think::Think;
use crate::tools::{Function, FunctionName, NamedToolChoice, Tool, ToolChoice, ToolChoiceMode, Toolbox};

/// A conversation, and how its next message is generated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessagesRequest {
    /// The messages so far, oldest first; at least one.
    messages: Vec<InputMessage>,
    /// Name of the model. Default: the default model.
    pub model: Option<String>,
    /// A system message that goes before the conversation: a text, or blocks of text. Default: none.
    system: Option<Content>,
    /// Maximum number of generated tokens, at least 1. Default: what the context has room for.
    #[schemars(range(min = 1))]
    max_tokens: Option<usize>,
    /// Send the answer as server-sent events while it is generated. Default: false.
    stream: Option<bool>,
    /// Texts that end the answer and are not part of it: up to 16. Default: none.
    stop_sequences: Option<Vec<String>>,
    /// Sampling temperature, 0 to 2; 0 always takes the likeliest token. Default: 1.
    temperature: Option<f32>,
    /// Nucleus sampling: samples from the fewest likeliest tokens whose probabilities add up to this, 0 to 1. Default: 1.
    top_p: Option<f32>,
    /// Samples from this many of the likeliest tokens; 0 samples from all. Default: 40.
    top_k: Option<u32>,
    /// Functions that the model may call, at most 128. Default: none.
    #[serde(default)]
    tools: Vec<InputTool>,
    /// Whether the model must call a function, and which. Default: it decides by itself.
    tool_choice: Option<InputToolChoice>,
    /// Options for the text of an answer. Default: none.
    output_config: Option<OutputConfig>,
    /// Let the model think before it answers; true needs a template with a switch for it. Default: the template's.
    think: Option<Think>,
}

/// A message of a conversation.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputMessage {
    /// The author of the message.
    role: Role,
    /// The text of the message, or its blocks. Default: empty.
    content: Option<Blocks>,
}

/// A text, or blocks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Blocks {
    /// The whole text.
    Text(String),
    /// Blocks in their order.
    Several(Vec<Block>),
}

/// A part of a message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Block {
    /// Some text.
    Text {
        /// The text.
        text: String,
    },
    /// A function call that the assistant made.
    ToolUse {
        /// The id by which the result names the call. Default: empty.
        #[serde(default)]
        id: String,
        /// Name of the function.
        name: String,
        /// The arguments, a JSON object. Default: none.
        #[serde(default)]
        input: Value,
    },
    /// The result of a function call.
    ToolResult {
        /// The id of the call. Default: empty.
        #[serde(default)]
        tool_use_id: String,
        /// The result's text. Default: empty.
        #[serde(default)]
        content: String,
        /// Whether the call failed; then the text begins with "Error: ". Default: false.
        is_error: Option<bool>,
    },
}

/// A function that the model may call.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputTool {
    /// Kind of the tool; only "custom" exists, a function that the client runs. Default: "custom".
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Name of the function: 1 to 128 letters, digits, `_`, `-` and `.`.
    name: String,
    /// Description for the model of what the function does. Default: none.
    description: Option<String>,
    /// JSON schema of the arguments, which are an object. Default: no arguments.
    input_schema: Option<Map<String, Value>>,
    /// Accepted. The arguments of required calls are valid by the schema either way. Default: false.
    strict: Option<bool>,
}

/// Whether the model calls functions, and which.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum InputToolChoice {
    /// It decides by itself.
    Auto {
        /// Return one call at most. Default: false.
        disable_parallel_tool_use: Option<bool>,
    },
    /// It calls a function, and writes nothing else.
    Any {
        /// Return one call only; false allows up to 8. Default: true.
        disable_parallel_tool_use: Option<bool>,
    },
    /// It calls this function once, and writes nothing else.
    Tool {
        /// Name of one of the functions in `tools`.
        name: String,
        /// Accepted, not read: the function is called once either way.
        #[serde(rename = "disable_parallel_tool_use")]
        _single: Option<bool>,
    },
    /// It calls none, and does not see them.
    None {
        /// Accepted, not read: there are no calls.
        #[serde(rename = "disable_parallel_tool_use")]
        _single: Option<bool>,
    },
}

/// Options for the text of an answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// Form that the answer must have; not together with `tools`. Default: any text.
    format: Option<OutputFormat>,
}

/// The form that an answer must have.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum OutputFormat {
    /// JSON that is valid by a schema.
    JsonSchema {
        /// The JSON schema; drafts up to 2020-12.
        schema: Value,
    },
}

impl MessagesRequest {
    /// Whether an answer may have one call at most.
    pub fn single_call(&self) -> bool {
        matches!(self.tool_choice, Some(InputToolChoice::Auto { disable_parallel_tool_use: Some(true) }))
    }

    /// The conversation, and the functions that the model may call.
    ///
    /// # Errors
    /// 400 for tools that are no functions of the client, for calls in a message of the user, and as [`Toolbox::new`].
    pub fn prompt(self) -> Result<(Prompts, Toolbox), ApiError> {
        let mut messages = Vec::new();
        for (at, message) in self.messages.into_iter().enumerate() {
            message.messages(at)?.into_iter().for_each(|message| add(&mut messages, message));
        }
        let begun = |last: &mut Message| last.role == Role::Assistant && last.tool_calls.is_none();
        let prefill = if messages.len() > 1 { messages.pop_if(begun) } else { None };
        let prefill = prefill.and_then(|last| last.content).map(|content| content.text()).unwrap_or_default();
        if let (Some(system), false) = (self.system, messages.is_empty()) {
            messages.insert(0, Message::text(Role::System, system));
        }
        let tools = self.tools.into_iter().enumerate().map(|(at, tool)| tool.tool(at)).collect::<Result<_, _>>()?;
        let (choice, parallel) = match self.tool_choice {
            None | Some(InputToolChoice::Auto { .. }) => (ToolChoice::Mode(ToolChoiceMode::Auto), true),
            Some(InputToolChoice::None { .. }) => (ToolChoice::Mode(ToolChoiceMode::None), false),
            Some(InputToolChoice::Any { disable_parallel_tool_use }) => {
                (ToolChoice::Mode(ToolChoiceMode::Required), disable_parallel_tool_use == Some(false))
            }
            Some(InputToolChoice::Tool { name, .. }) => {
                let function = FunctionName { name };
                (ToolChoice::Named(NamedToolChoice::Function { function }), false)
            }
        };
        Ok((Prompts::Chat { messages, think: self.think, prefill }, Toolbox::new(tools, Some(choice), parallel)?))
    }

    /// What the model is to generate.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt), and for sampling parameters outside their ranges and more than 16 stop texts.
    pub fn generate(mut self, app: &App, model: Arc<Model>) -> Result<Generate, ApiError> {
        let Self { temperature, top_p, top_k, max_tokens, .. } = self;
        let sampling = SamplingParams { temperature, top_p, top_k, ..SamplingParams::default() };
        let stop = Stop::texts(self.stop_sequences.take().map(Stop::Several))?;
        let format = self.output_config.take().and_then(|config| config.format);
        let form = format.map(|OutputFormat::JsonSchema { schema }| Form::Schema(listed_only(schema)));
        let stream = self.stream.unwrap_or(false);
        let (prompts, tools) = self.prompt()?;
        let request = Request::default().max_tokens(max_tokens).sampling(sampling.sampling(app)?).stop(stop);
        Ok(Generate { model, prompts, count: 1, tools, form, stream, request })
    }
}

/// Adds a message. Neighbours of the user, or of the assistant, are one turn.
fn add(messages: &mut Vec<Message>, message: Message) {
    let turn = matches!(message.role, Role::User | Role::Assistant);
    match messages.last_mut().filter(|last| turn && last.role == message.role && last.tool_calls.is_none()) {
        Some(last) => {
            let texts = [&last.content, &message.content].map(|content| content.as_ref().map(Content::text));
            let texts: Vec<String> = texts.into_iter().flatten().filter(|text| !text.is_empty()).collect();
            last.content = Some(Content::Text(texts.join("\n\n")));
            last.tool_calls = message.tool_calls;
        }
        None => messages.push(message),
    }
}

impl InputMessage {
    /// The message as other endpoints take it: each result of a call is a message of its own, and goes before the text.
    fn messages(self, at: usize) -> Result<Vec<Message>, ApiError> {
        let blocks = match self.content {
            None => return Ok(vec![Message::text(self.role, Content::Text(String::new()))]),
            Some(Blocks::Text(text)) => return Ok(vec![Message::text(self.role, Content::Text(text))]),
            Some(Blocks::Several(blocks)) => blocks,
        };
        let (mut messages, mut texts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        for (i, block) in blocks.into_iter().enumerate() {
            match block {
                Block::Text { text } => texts.push(text),
                Block::ToolUse { .. } if self.role != Role::Assistant => {
                    let field = format!("messages[{at}].content[{i}]");
                    let message = format!("{field} is a tool_use block; only messages of the assistant have them");
                    return Err(ApiError::field(field, message));
                }
                Block::ToolUse { id, name, input } => {
                    let function = CalledFunction { name, arguments: input };
                    calls.push(ToolCall { id, kind: "function".into(), function });
                }
                Block::ToolResult { tool_use_id, content, is_error } => {
                    let content = if is_error == Some(true) { format!("Error: {content}") } else { content };
                    let result = Message::text(Role::Tool, Content::Text(content));
                    messages.push(Message { tool_call_id: Some(tool_use_id), ..result });
                }
            }
        }
        if messages.is_empty() || !texts.is_empty() || !calls.is_empty() {
            let tool_calls = Some(calls).filter(|calls| !calls.is_empty());
            messages.push(Message { tool_calls, ..Message::text(self.role, Content::Text(texts.concat())) });
        }
        Ok(messages)
    }
}

impl InputTool {
    fn tool(self, at: usize) -> Result<Tool, ApiError> {
        let Self { kind, name, description, input_schema, strict } = self;
        if let Some(kind) = kind.filter(|kind| kind != "custom") {
            let field = format!("tools[{at}].type");
            let message = format!("{field} is {kind:?}, a tool of another server; send functions with an input_schema");
            return Err(ApiError { code: Some("unsupported_parameter"), ..ApiError::field(field, message) });
        }
        let parameters = input_schema.unwrap_or_else(Function::no_parameters);
        Ok(Tool::Function { function: Function { name, description, parameters, strict } })
    }
}
