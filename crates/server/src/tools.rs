//! Function calling: how functions are described to the model, and how its calls are parsed.
//!
//! Chat templates that know `tools` describe the functions themselves. For other models the system message describes them,
//! and calls are written as Qwen's and Hermes' models write them:
//!
//! ```text
//! <tool_call>
//! {"name": "weather", "arguments": {"city": "Oslo"}}
//! </tool_call>
//! ```

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sterna::engine::FinishReason;
use sterna_grammar::{known_formats, listed_only};

use crate::error::ApiError;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
/// The most functions of a request.
const MAX_FUNCTIONS: usize = 128;

/// A tool that the model may use.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Tool {
    /// A function, the only kind of tool.
    Function {
        /// The function that may be called.
        function: Function,
    },
}

/// A function that the model may call.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Name of the function: 1 to 128 letters, digits, `_`, `-` and `.`.
    #[schemars(regex(pattern = "^[A-Za-z0-9_.-]{1,128}$"))]
    pub name: String,
    /// Description for the model of what the function does. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON schema of the arguments, which are an object. Default: no arguments.
    #[serde(default = "Function::no_parameters")]
    pub parameters: Map<String, Value>,
    /// Accepted. The arguments of required calls are valid by the schema either way. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl Function {
    /// The schema of no arguments.
    pub fn no_parameters() -> Map<String, Value> {
        Map::from_iter([("type".into(), "object".into()), ("properties".into(), json!({}))])
    }
}

/// Whether the model calls functions, and which.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ToolChoice {
    /// Whether functions are called at all.
    Mode(ToolChoiceMode),
    /// The one function that must be called.
    Named(NamedToolChoice),
}

/// Whether the model calls functions.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoiceMode {
    /// It calls none, and does not see them.
    None,
    /// It decides by itself.
    Auto,
    /// It calls at least one, and writes nothing else.
    Required,
}

/// A function that must be called, once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NamedToolChoice {
    /// A function, the only kind of tool.
    Function {
        /// The function that must be called.
        function: FunctionName,
    },
}

/// The name of a function.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionName {
    /// Name of one of the functions in `tools`.
    pub name: String,
}

/// The functions that the model may call in an answer.
#[derive(Clone, Debug, Default)]
pub struct Toolbox {
    functions: Vec<Function>,
    /// Whether the answer must be calls, and nothing else.
    pub required: bool,
    /// Whether the answer may have more than one call.
    pub parallel: bool,
}

impl Toolbox {
    /// The functions of `tools` that `choice` allows.
    ///
    /// # Errors
    /// 400 for more than 128 functions, for names with other characters, and for a choice that leaves no function.
    pub fn new(tools: Vec<Tool>, choice: Option<ToolChoice>, mut parallel: bool) -> Result<Self, ApiError> {
        if tools.len() > MAX_FUNCTIONS {
            return Err(ApiError::field(
                "tools",
                format!("tools has {} functions; {MAX_FUNCTIONS} are allowed", tools.len()),
            ));
        }
        let mut functions: Vec<Function> = tools.into_iter().map(|Tool::Function { function }| function).collect();
        for (at, Function { name, .. }) in functions.iter().enumerate() {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            if !(1..=128).contains(&name.len()) || !name.bytes().all(allowed) {
                let field = format!("tools[{at}].function.name");
                return Err(ApiError::field(
                    field,
                    format!("{name:?} is not a name of a function; use 1 to 128 letters, digits, _, - and ."),
                ));
            }
        }
        let required = match choice {
            None | Some(ToolChoice::Mode(ToolChoiceMode::Auto)) => false,
            Some(ToolChoice::Mode(ToolChoiceMode::None)) => {
                functions.clear();
                false
            }
            Some(ToolChoice::Mode(ToolChoiceMode::Required)) => true,
            Some(ToolChoice::Named(NamedToolChoice::Function { function })) => {
                functions.retain(|each| each.name == function.name);
                parallel = false;
                true
            }
        };
        if required && functions.is_empty() {
            return Err(ApiError::field("tool_choice", "tool_choice asks for a function that tools does not have"));
        }
        Ok(Self { functions, required, parallel })
    }

    /// The number of functions.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether no function may be called.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// The functions as chat templates read them.
    pub fn for_template(&self) -> Vec<Value> {
        self.functions.iter().map(|function| json!({ "type": "function", "function": function })).collect()
    }

    /// The functions as text, for models whose template does not know `tools`.
    pub fn description(&self) -> String {
        let functions: Vec<String> = self.for_template().iter().map(Value::to_string).collect();
        format!(
            "You can call these functions:\n{}\n\nTo call one, write only\n{OPEN}\n{{\"name\": NAME, \"arguments\": \
             ARGUMENTS}}\n{CLOSE}\nwith its name and a JSON object of its arguments. What it returns will be in the next \
             message, between <tool_response> and </tool_response>.",
            functions.join("\n")
        )
    }

    /// A grammar of one call, or of up to 8 if they may be parallel, and nothing else.
    pub fn lark(&self) -> String {
        let call = |function: &Function| {
            json!({
                "type": "object",
                "properties": { "name": { "const": function.name }, "arguments": known_formats(listed_only(function.parameters.clone().into())) },
                "required": ["name", "arguments"],
                "additionalProperties": false,
            })
        };
        let calls: Vec<Value> = self.functions.iter().map(call).collect();
        let schema = json!({
            "anyOf": calls,
            "x-guidance": { "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": " },
        });
        let repeated = if self.parallel { "(\"\\n\" call){0,7}" } else { "" };
        format!("start: call {repeated}\ncall: \"{OPEN}\\n\" body \"\\n{CLOSE}\"\nbody: %json {schema}\n")
    }

    fn has(&self, name: &str) -> bool {
        self.functions.iter().any(|function| function.name == name)
    }
}

/// A function call of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub name: String,
    /// A JSON object, as text.
    pub arguments: String,
}

/// A call as text, for models whose template does not know `tools`.
pub fn written(name: &str, arguments: &Value) -> String {
    format!("{OPEN}\n{}\n{CLOSE}", json!({ "name": name, "arguments": arguments }))
}

/// A function's result as text, for models whose template does not know `tools`.
pub fn returned(content: &str) -> String {
    format!("<tool_response>\n{content}\n</tool_response>")
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Text(String),
    Call(Call),
}

/// Parses the calls of an answer while it is generated.
pub struct CallParser {
    tools: Arc<Toolbox>,
    /// Text that may be the beginning of a call, or is part of one.
    held: String,
    /// Whether a part was returned before.
    begun: bool,
    /// Whether the last part was text: then spaces before a call belong to it.
    text: bool,
}

impl CallParser {
    /// A parser of calls of these functions.
    pub fn new(tools: Arc<Toolbox>) -> Self {
        Self { tools, held: String::new(), begun: false, text: false }
    }

    /// The parts that `text` completes.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        if self.tools.is_empty() {
            return if text.is_empty() { vec![] } else { vec![Part::Text(text.into())] };
        }
        self.held.push_str(text);
        let mut parts = Vec::new();
        loop {
            let start = if self.text { &self.held } else { self.held.trim_start() };
            if start.is_empty() || !self.begun && start.starts_with('{') {
                // Nothing yet, or possibly a call without tags, as Llama's models write it, which only the end shows.
                return parts;
            }
            let part = if let Some(rest) = start.strip_prefix(OPEN) {
                let Some((inside, after)) = rest.split_once(CLOSE) else { return parts };
                let (call, after) = (self.call(inside), after.to_owned());
                let whole = std::mem::replace(&mut self.held, after);
                call.map_or_else(|| Part::Text(whole[..whole.len() - self.held.len()].to_owned()), Part::Call)
            } else {
                let safe = self.held.find(OPEN).unwrap_or_else(|| self.held.len() - partial_tag(&self.held));
                if safe <= self.held.len() - start.len() {
                    return parts;
                }
                Part::Text(self.held.drain(..safe).collect())
            };
            self.begun = true;
            self.text = matches!(part, Part::Text(_));
            parts.push(part);
        }
    }

    /// The last part, at the end of the answer. If a limit ended it, a call that is not complete is left out.
    pub fn finish(&mut self, reason: FinishReason) -> Option<Part> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() || self.begun && !self.text && held.trim().is_empty() {
            return None;
        }
        let inside = held.trim().trim_start_matches(OPEN);
        match self.call(inside) {
            Some(call) => Some(Part::Call(call)),
            None if reason == FinishReason::Length && self.begins_call(held.trim_start()) => None,
            None => Some(Part::Text(held)),
        }
    }

    /// Whether a text can only be the beginning of a call.
    fn begins_call(&self, text: &str) -> bool {
        let tag = text.starts_with(OPEN) || text.len() > 1 && OPEN.starts_with(text);
        tag || text.starts_with('{') && (self.tools.required || text.starts_with("{\"name\""))
    }

    /// Parses a text that is a call of a known function and nothing else.
    fn call(&self, text: &str) -> Option<Call> {
        let value: Value = serde_json::from_str(text.trim()).ok()?;
        let name = value.get("name")?.as_str().filter(|name| self.tools.has(name))?;
        let arguments = value.get("arguments").or_else(|| value.get("parameters"))?;
        arguments.is_object().then(|| Call { name: name.into(), arguments: arguments.to_string() })
    }
}

/// The length of the longest end of a text that may be the beginning of a tag.
fn partial_tag(text: &str) -> usize {
    (1..OPEN.len()).rev().find(|len| text.ends_with(&OPEN[..*len])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolbox() -> Toolbox {
        let tools =
            json!([{ "type": "function", "function": { "name": "weather", "parameters": { "type": "object" } } }]);
        Toolbox::new(serde_json::from_value(tools).expect("tools"), None, true).expect("fine")
    }

    /// All parts, texts joined, whatever pieces the answer comes in.
    fn parts(answer: &str) -> Vec<Part> {
        let tools = Arc::new(toolbox());
        let of = |size: usize| {
            let mut calls = CallParser::new(tools.clone());
            let pieces: Vec<char> = answer.chars().collect();
            let mut all: Vec<Part> =
                pieces.chunks(size).flat_map(|piece| calls.push(&String::from_iter(piece))).collect();
            all.extend(calls.finish(FinishReason::Stop));
            all.into_iter().fold(Vec::new(), |mut joined: Vec<Part>, part| {
                match (joined.last_mut(), part) {
                    (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
                    (_, part) => joined.push(part),
                }
                joined
            })
        };
        let whole = of(usize::MAX);
        (1..9).for_each(|size| assert_eq!(of(size), whole, "pieces of {size} of {answer:?}"));
        whole
    }

    fn call(city: &str) -> Part {
        Part::Call(Call { name: "weather".into(), arguments: json!({ "city": city }).to_string() })
    }

    #[test]
    fn calls_are_found_and_text_is_kept() {
        let oslo = "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";
        assert_eq!(parts(oslo), [call("Oslo")]);
        assert_eq!(
            parts(&format!("I look. {oslo}\n{}", oslo.replace("Oslo", "Rome"))),
            [Part::Text("I look. ".into()), call("Oslo"), call("Rome")]
        );
        assert_eq!(parts("{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\"}}"), [call("Oslo")]);
        assert_eq!(parts("a < b <tool> x <tool_c"), [Part::Text("a < b <tool> x <tool_c".into())]);
        assert_eq!(parts("{\"city\": 1}"), [Part::Text("{\"city\": 1}".into())]);
        assert_eq!(parts(""), []);
    }

    #[test]
    fn what_is_no_call_is_text() {
        for text in [
            "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>",
            "<tool_call>{\"name\": \"weather\"}</tool_call>",
            "<tool_call>weather</tool_call>",
            "<tool_call>\n{\"name\": \"weather\", \"argu",
        ] {
            assert_eq!(parts(text), [Part::Text(text.into())]);
        }
    }

    #[test]
    fn a_call_that_a_limit_cut_is_not_content() {
        let last = |text: &str, reason| {
            let mut calls = CallParser::new(Arc::new(toolbox()));
            let mut parts = calls.push(text);
            parts.extend(calls.finish(reason));
            parts
        };
        for text in ["<tool_call>\n{\"name\": \"weather\", \"argu", "<tool_c", "{\"name\": \"wea"] {
            assert_eq!(last(text, FinishReason::Length), [], "{text}");
            assert_eq!(last(text, FinishReason::Stop), [Part::Text(text.into())], "{text}");
        }
        assert_eq!(last("I look. <tool_call>\n{", FinishReason::Length), [Part::Text("I look. ".into())]);
        assert_eq!(last("{\"city\": 1", FinishReason::Length), [Part::Text("{\"city\": 1".into())]);
    }

    #[test]
    fn choices_leave_functions_or_refuse() {
        let tools = || toolbox().functions.into_iter().map(|function| Tool::Function { function }).collect::<Vec<_>>();
        let choice = |value: Value| Some(serde_json::from_value(value).expect("a choice"));
        let of = |value| Toolbox::new(tools(), choice(value), true);
        assert!(of(json!("none")).expect("fine").is_empty());
        assert!(of(json!("required")).expect("fine").required);
        let one = of(json!({ "type": "function", "function": { "name": "weather" } })).expect("fine");
        assert!(one.required && !one.parallel, "it is called once");
        assert!(of(json!({ "type": "function", "function": { "name": "x" } })).is_err());
        assert!(Toolbox::new(vec![], choice(json!("required")), true).is_err());
    }
}
