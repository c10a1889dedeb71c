//! Chat templates (Jinja, as Hugging Face renders them).

use std::borrow::Cow;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error as JinjaError, ErrorKind, context};
use serde_json::{Value as Json, json};

use crate::checkpoint::{GgufVocabulary, TextFiles};
use crate::{Error, Result};

use super::special::{SpecialTokens, with_strings};
use super::{Tokenizer, calendar, huggingface, to_json};

/// Limits on executed template instructions: a base, and more for every message. Real templates need a few dozen per
/// message.
const FUEL: u64 = 100_000;
const FUEL_PER_MESSAGE: u64 = 10_000;
/// Limit on a template's output beyond the length of the messages, in bytes.
const OUTPUT: usize = 1 << 20;

/// Variables by which templates of reasoning models turn thinking on and off.
const THINKING: [&str; 2] = ["enable_thinking", "thinking"];
/// The variable by which templates say how much the model thinks.
const EFFORT: &str = "reasoning_effort";

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// "system", "user" or "assistant".
    pub role: String,
    /// The text of the message.
    pub content: String,
}

/// A model's chat template.
///
/// The template is compiled once. It gets the same variables and functions as in transformers: `messages`,
/// `add_generation_prompt`, `bos_token`, `eos_token`, `tools` and `documents` (none), `raise_exception`, `strftime_now`
/// (in UTC) and `tojson` without HTML escapes. Instructions and output are limited, so a hostile template cannot hang
/// the process. Memory for strings that it builds and never prints is not limited.
pub struct ChatTemplate {
    environment: Environment<'static>,
    special: Vec<(&'static str, String)>,
    knows_tools: bool,
    knows_thinking: bool,
}

impl ChatTemplate {
    /// Compiles the template of a checkpoint; `None` if it has none.
    ///
    /// # Errors
    /// [`Error::Template`] if the template is not valid Jinja, or if there are several and none is named "default".
    pub fn new(text: &TextFiles) -> Result<Option<Self>> {
        let special = match text {
            TextFiles::HuggingFace { config, .. } => special_tokens(config),
            TextFiles::Gguf(vocabulary) => vocabulary_tokens(vocabulary),
            TextFiles::None => Vec::new(),
        };
        source(text)?.map(|source| Self::compile(source, special)).transpose()
    }

    fn compile(source: &str, special: Vec<(&'static str, String)>) -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(explain)?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| {
            calendar::now(&format).map_err(|problem| JinjaError::new(ErrorKind::InvalidOperation, problem))
        });
        environment.add_filter("tojson", to_json::filter);
        // Python's strings and dicts are sequences, and its strings can be iterated over.
        environment.add_test("sequence", |value: &Value| is_sequence(value));
        environment
            .add_test("iterable", |value: &Value| is_sequence(value) || !value.is_none() && value.try_iter().is_ok());
        environment.add_template_owned("chat", without_generation_tags(&with_plain_lines(source))).map_err(explain)?;
        let names = environment.get_template("chat").map_err(explain)?.undeclared_variables(false);
        let knows_thinking = THINKING.iter().chain([&EFFORT]).any(|name| names.contains(*name));
        Ok(Self { environment, special, knows_tools: names.contains("tools"), knows_thinking })
    }

    /// Renders the conversation.
    ///
    /// # Errors
    /// [`Error::Template`] with the template's message if it rejects the conversation, or if it exceeds a limit.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        self.render_values(&values(messages), &[], false)
    }

    /// Renders the conversation and the header of the next answer (`add_generation_prompt`).
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_prompt(&self, messages: &[Message]) -> Result<String> {
        self.render_values(&values(messages), &[], true)
    }

    /// Renders messages with fields beyond text, tools (functions that the model may call), and the header of the next
    /// answer, in the format of Hugging Face (<https://huggingface.co/docs/transformers/chat_templating>).
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn render_prompt_values(&self, messages: &[Json], tools: &[Json]) -> Result<String> {
        self.render_values(messages, tools, true)
    }

    fn render_values(&self, messages: &[Json], tools: &[Json], add_generation_prompt: bool) -> Result<String> {
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + FUEL_PER_MESSAGE * (messages.len() + tools.len()) as u64));
        let bytes: usize = messages.iter().chain(tools).map(length).sum();
        let mut output = Limited { text: Vec::new(), left: OUTPUT.saturating_add(bytes.saturating_mul(2)) };
        let template = environment.get_template("chat").map_err(explain)?;
        let context = context! {
            messages => messages.iter().map(value).collect::<Value>(),
            add_generation_prompt,
            tools => if tools.is_empty() { Value::from(()) } else { tools.iter().map(value).collect::<Value>() },
            documents => Value::from(()),
            ..Value::from_pairs(self.special.iter().map(|(name, token)| (*name, token.as_str())))
        };
        template.render_captured_to(context, &mut output).map_err(explain)?;
        String::from_utf8(output.text).map_err(|error| Error::Template(error.to_string()))
    }

    /// The source, without the tags that mark what a model is trained to write.
    pub fn source(&self) -> String {
        self.environment.get_template("chat").map(|template| template.source().to_owned()).unwrap_or_default()
    }

    /// Whether the template uses the `tools` variable.
    pub fn knows_tools(&self) -> bool {
        self.knows_tools
    }

    /// Whether the template has a switch for thinking: the variable `enable_thinking`, `thinking` or `reasoning_effort`.
    pub fn knows_thinking(&self) -> bool {
        self.knows_thinking
    }

    /// The template with thinking switched on or off, and with an effort ("low", "high") if one is given.
    #[must_use]
    pub fn with_thinking(&self, on: bool, effort: Option<&'static str>) -> Self {
        let mut environment = self.environment.clone();
        effort.into_iter().for_each(|effort| environment.add_global(EFFORT, effort));
        THINKING.iter().for_each(|name| environment.add_global(*name, on));
        Self { environment, special: self.special.clone(), ..*self }
    }

    /// Renders and encodes the conversation with the header of the next answer. BOS stands exactly once at the start if
    /// the model uses it, whether or not the template prints it. Special tokens come from the template only: those
    /// written in messages are encoded as text.
    ///
    /// # Errors
    /// As [`render`](Self::render) and [`Tokenizer::encode`].
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>> {
        self.encode_values(tokenizer, &values(messages), &[])
    }

    /// Renders and encodes messages and tools as [`render_prompt_values`](Self::render_prompt_values) and
    /// [`encode`](Self::encode) do.
    ///
    /// # Errors
    /// As [`render`](Self::render) and [`Tokenizer::encode`].
    pub fn encode_values(&self, tokenizer: &Tokenizer, messages: &[Json], tools: &[Json]) -> Result<Vec<u32>> {
        let special = tokenizer.special();
        let mut ids = match messages.iter().chain(tools).any(|value| special.may_be_in(value)) {
            false => tokenizer.encode(&self.render_prompt_values(messages, tools)?)?,
            true => self.encode_marked(tokenizer, special, messages, tools)?,
        };
        tokenizer.begin(&mut ids);
        Ok(ids)
    }

    /// Encodes messages that have characters of special tokens.
    ///
    /// A template may join parts of a message, which then become a special token. So the conversation is rendered a second
    /// time, with every character marked that could begin or end one: all special tokens in that text are the template's.
    /// If they differ from those in the first text, the second is used, although templates that look into messages (for
    /// `</think>`) do not find anything there.
    fn encode_marked(
        &self,
        tokenizer: &Tokenizer,
        special: &SpecialTokens,
        messages: &[Json],
        tools: &[Json],
    ) -> Result<Vec<u32>> {
        let source = self.environment.get_template("chat").map_err(explain)?;
        let marks = special.marks(source.source(), messages.iter().chain(tools));
        let render = |mark: &dyn Fn(&str) -> String| {
            let marked = |values: &[Json]| values.iter().map(|value| with_strings(value, mark)).collect::<Vec<_>>();
            self.render_prompt_values(&marked(messages), &marked(tools))
        };
        let text = render(&|text| marks.mark_tokens(text))?;
        let safe = render(&|text| marks.mark_ends(text))?;
        let same = special.spelled_in(&text).eq(special.spelled_in(&safe));
        tokenizer.encode_marked(if same { &text } else { &safe }, &marks)
    }
}

/// Whether Python can take items of a value by index or key. An undefined value counts, as in Jinja.
fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Undefined | ValueKind::Seq | ValueKind::String | ValueKind::Map)
}

/// The source without a byte order mark, its line ends as Jinja reads them.
fn with_plain_lines(source: &str) -> Cow<'_, str> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    match source.contains('\r') {
        true => source.replace("\r\n", "\n").replace('\r', "\n").into(),
        false => source.into(),
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("special", &self.special).finish_non_exhaustive()
    }
}

/// Converts JSON to the template engine's values.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::from(integer),
            (None, float) => Value::from(float.unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(values) => values.iter().map(value).collect(),
        Json::Object(fields) => Value::from_pairs(fields.iter().map(|(name, field)| (name.as_str(), value(field)))),
    }
}

/// Total length of the strings in a value, in bytes.
fn length(value: &Json) -> usize {
    match value {
        Json::String(text) => text.len(),
        Json::Array(values) => values.iter().map(length).sum(),
        Json::Object(fields) => fields.iter().map(|(name, value)| name.len() + length(value)).sum(),
        _ => 8,
    }
}

/// Messages as templates see them.
fn values(messages: &[Message]) -> Vec<Json> {
    messages.iter().map(|message| json!({ "role": message.role, "content": message.content })).collect()
}

/// The source of the default template. An empty template is none.
pub(super) fn source(text: &TextFiles) -> Result<Option<&str>> {
    let written = |source: &&str| !source.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}').is_empty();
    let source = match text {
        TextFiles::HuggingFace { chat_template, config, .. } => match chat_template.as_deref().filter(written) {
            Some(source) => Some(source),
            None => config.get("chat_template").filter(|template| !is_empty(template)).map(choose).transpose()?,
        },
        TextFiles::Gguf(vocabulary) => vocabulary.chat_template.as_deref(),
        TextFiles::None => None,
    };
    Ok(source.filter(written))
}

/// Whether a field of `tokenizer_config.json` holds nothing.
fn is_empty(value: &Json) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Picks from `chat_template` of `tokenizer_config.json`: one template, or a list of named templates.
fn choose(templates: &serde_json::Value) -> Result<&str> {
    if let Some(template) = templates.as_str() {
        return Ok(template);
    }
    let named: Vec<(&str, &str)> = templates
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| Some((entry.get("name")?.as_str()?, entry.get("template")?.as_str()?)))
        .collect();
    let default =
        named.iter().find(|(name, _)| *name == "default").or(if named.len() == 1 { named.first() } else { None });
    default.map(|(_, template)| *template).ok_or_else(|| {
        let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        Error::Template(format!("tokenizer_config.json has no \"default\" chat_template, only {names:?}"))
    })
}

fn special_tokens(settings: &serde_json::Value) -> Vec<(&'static str, String)> {
    let names = ["bos_token", "eos_token", "unk_token", "pad_token"];
    names.into_iter().filter_map(|name| Some((name, huggingface::special_token(settings, name)?.to_owned()))).collect()
}

fn vocabulary_tokens(vocabulary: &GgufVocabulary) -> Vec<(&'static str, String)> {
    let names = [
        ("bos_token", vocabulary.bos),
        ("eos_token", vocabulary.eos),
        ("unk_token", vocabulary.unknown),
        ("pad_token", vocabulary.padding),
    ];
    names.into_iter().filter_map(|(name, id)| Some((name, vocabulary.tokens.get(id? as usize)?.clone()))).collect()
}

/// Replaces `{% generation %}` and `{% endgeneration %}`, which mark answers for training, with blocks that do nothing.
fn without_generation_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let Some(length) = rest[open..].find("%}") else { break };
        let (before, tag) = (&rest[..open + 2], &rest[open + 2..open + length]);
        result += before;
        match tag.trim_matches(['-', '+']).trim() {
            "generation" => result += &tag.replace("generation", "if true"),
            "endgeneration" => result += &tag.replace("endgeneration", "endif"),
            _ => result += tag,
        }
        rest = &rest[open + length..];
    }
    result + rest
}

/// The message and line of a Jinja error, without the template's source.
fn explain(error: JinjaError) -> Error {
    let place = error.line().map_or(String::new(), |line| format!(" (line {line} of the template)"));
    let problem = match error.kind() {
        ErrorKind::OutOfFuel => "it executes too many instructions".to_owned(),
        ErrorKind::WriteFailure => "it writes too much text".to_owned(),
        kind => error.detail().map_or_else(|| kind.to_string(), str::to_owned),
    };
    Error::Template(problem + &place)
}

/// A writer that accepts a limited number of bytes.
struct Limited {
    text: Vec<u8>,
    left: usize,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
