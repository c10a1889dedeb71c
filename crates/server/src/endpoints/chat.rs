//! `/v1/chat/completions`: answers in a conversation.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat>.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream::{self, Stream, StreamExt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sterna::engine::{FinishReason, Logprob, Request};
use sterna_grammar::{Form, listed_only};

use super::{Answer, Endpoint};
use crate::app::{self, App};
use crate::body::Asked;
use crate::error::Refusal;
use crate::prompt::{self, Message};
use crate::sampling::Stop;
use crate::stream::{Chunk, events, side_by_side};
use crate::tools::{Call, Choice, Tool, Toolbox};
use crate::turn::{Said, Turn};
use crate::usage::Took;

pub const ENDPOINT: Endpoint = Endpoint {
    path: "/v1/chat/completions",
    method: "post",
    summary: "The next message of a conversation",
    request: Some(super::with_drawing::<Chat>),
    answer: Answer::or_events("text/event-stream"),
    route: || post(chat),
};

/// Answers of one request.
const MOST_CHOICES: usize = 16;
/// Alternatives of a token.
const MOST_LOGPROBS: usize = 20;

/// A conversation, and what its next message shall be like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    /// Its messages so far.
    messages: Vec<Message>,
    /// The server's model; the same if not given.
    model: Option<String>,
    /// Whether the answer comes as events.
    stream: Option<bool>,
    /// What these hold.
    stream_options: Option<StreamOptions>,
    /// Tokens of the answer at most.
    #[schemars(range(min = 1))]
    max_completion_tokens: Option<usize>,
    /// The older name of the same.
    #[schemars(range(min = 1))]
    max_tokens: Option<usize>,
    /// How many answers.
    #[schemars(range(min = 1, max = MOST_CHOICES))]
    n: Option<usize>,
    /// Texts that end the answer.
    stop: Option<Stop>,
    /// Whether log-probabilities are reported.
    logprobs: Option<bool>,
    /// Alternatives of each token.
    #[schemars(range(max = MOST_LOGPROBS))]
    top_logprobs: Option<usize>,
    /// What the answer must look like.
    response_format: Option<ResponseFormat>,
    /// Functions that may be called.
    #[serde(default)]
    tools: Vec<Tool>,
    /// Whether they are.
    tool_choice: Option<Choice>,
    /// Whether several may be called at once.
    parallel_tool_calls: Option<bool>,
    /// Who asks; not read.
    #[serde(rename = "user")]
    _user: Option<String>,
    /// The same, in OpenAI's newer words; not read.
    #[serde(rename = "safety_identifier")]
    _safety_identifier: Option<String>,
    /// Which requests begin alike; the server sees that by itself.
    #[serde(rename = "prompt_cache_key")]
    _prompt_cache_key: Option<String>,
    /// Notes of the client; not read.
    #[serde(rename = "metadata")]
    _metadata: Option<Map<String, Value>>,
    /// Answers are never stored.
    store: Option<bool>,
}

/// What events hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// Whether the last one says what the answer took.
    pub include_usage: Option<bool>,
}

/// What an answer must look like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ResponseFormat {
    /// Anything.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that is valid by a schema.
    JsonSchema {
        /// It.
        json_schema: NamedSchema,
    },
    /// Text that a regular expression matches as a whole; not OpenAI's.
    Regex {
        /// It, without look-around and references.
        pattern: String,
    },
    /// Text that follows a grammar; not OpenAI's.
    Lark {
        /// It, in llguidance's dialect of Lark.
        grammar: String,
    },
}

impl ResponseFormat {
    /// The form that it asks for.
    pub fn form(self) -> Option<Form> {
        match self {
            Self::Text => None,
            Self::JsonObject => Some(Form::Object),
            Self::JsonSchema { json_schema } => Some(Form::Schema(listed_only(json_schema.schema))),
            Self::Regex { pattern } => Some(Form::Regex(pattern)),
            Self::Lark { grammar } => Some(Form::Lark(grammar)),
        }
    }
}

/// A schema with a name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedSchema {
    /// For the client.
    #[serde(rename = "name")]
    _name: String,
    /// For the client.
    #[serde(rename = "description")]
    _description: Option<String>,
    /// The JSON schema.
    schema: Value,
    /// Answers are always valid by it.
    #[serde(rename = "strict")]
    _strict: Option<bool>,
}

/// What all answers of a request have in common.
struct Reply {
    app: Arc<App>,
    id: String,
    created: u64,
    logprobs: bool,
    include_usage: bool,
}

async fn chat(State(app): State<Arc<App>>, Asked { request, drawing }: Asked<Chat>) -> Result<Response, Refusal> {
    app.check_model(request.model.as_deref())?;
    if request.store == Some(true) {
        return Err(Refusal::unsupported("store", "leave it out: answers are never stored"));
    }
    let count = request.n.unwrap_or(1);
    if !(1..=MOST_CHOICES).contains(&count) {
        return Err(Refusal::field("n", format!("n is {count}; it must be from 1 to {MOST_CHOICES}")));
    }
    let streamed = request.stream.unwrap_or(false);
    let include_usage = request.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false);
    let tools = Toolbox::new(request.tools, request.tool_choice, request.parallel_tool_calls.unwrap_or(true))?;
    let tools = Arc::new(tools);
    let logprobs = request.logprobs.unwrap_or(false);
    let alternatives = request.top_logprobs.unwrap_or(0);
    if alternatives > MOST_LOGPROBS || alternatives > 0 && !logprobs {
        let message = format!("top_logprobs is {alternatives}; it may be up to {MOST_LOGPROBS}, and needs logprobs");
        return Err(Refusal::field("top_logprobs", message));
    }
    let (sampling, stop) = (drawing.sampling(&app)?, Stop::texts(request.stop)?);
    let form = request.response_format.and_then(ResponseFormat::form);
    let places = (0..count).map(|_| app.enter()).collect::<Result<Vec<_>, _>>()?;
    let asked = Request {
        prompt: prompt::encode(&app, request.messages, &tools).await?,
        max_tokens: request.max_completion_tokens.or(request.max_tokens),
        sampling,
        stop,
        grammar: app.grammar(form, &tools, "response_format").await?,
        logprobs: logprobs.then_some(alternatives),
        ..Request::default()
    };
    let turns = (0..).zip(places).map(|(i, place)| {
        let mut request = asked.clone();
        request.sampling.seed = request.sampling.seed.wrapping_add(i);
        Turn::start(&app, place, request, tools.clone())
    });
    let turns = turns.collect::<Result<Vec<_>, _>>()?;
    let reply = Reply { id: app.id("chatcmpl"), created: app::now(), app, logprobs, include_usage };
    if streamed { Ok(reply.stream(turns)) } else { reply.whole(turns).await }
}

impl Reply {
    /// All answers, once they are finished.
    async fn whole(self, turns: Vec<Turn>) -> Result<Response, Refusal> {
        let (mut choices, mut total) = (Vec::new(), Took::default());
        for (index, mut turn) in turns.into_iter().enumerate() {
            let (mut content, mut calls, mut tokens) = (String::new(), Vec::new(), Vec::new());
            let reason = loop {
                match turn.next().await.ok_or_else(Refusal::stopping)?? {
                    Said::Text { text, logprobs } => {
                        content.push_str(&text);
                        tokens.extend(logprobs.map(|token| self.logprob(&token)));
                    }
                    Said::Call(call) => calls.push(self.call(&call)),
                    Said::End { reason, called, usage } => {
                        total += Took::new(&usage, index == 0);
                        break finish_reason(reason, called);
                    }
                }
            };
            let content = if content.trim().is_empty() && !calls.is_empty() { Value::Null } else { content.into() };
            let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
            if !calls.is_empty() {
                message["tool_calls"] = calls.into();
            }
            let logprobs = if self.logprobs { json!({ "content": tokens, "refusal": null }) } else { Value::Null };
            choices.push(json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": reason }));
        }
        let mut object = self.object("chat.completion", choices);
        object["usage"] = total.json();
        Ok(Json(object).into_response())
    }

    /// The answers as events while they come; what they took at the end, if that was asked for.
    fn stream(self, turns: Vec<Turn>) -> Response {
        let reply = Arc::new(self);
        let choices = turns.into_iter().enumerate().map(|(index, turn)| reply.clone().choice(index, turn).boxed());
        events(side_by_side(choices.collect(), move |took| {
            let mut object = reply.object("chat.completion.chunk", vec![]);
            object["usage"] = took.json();
            reply.include_usage.then_some(object)
        }))
    }

    /// The chunks of one answer, the last with what it took.
    fn choice(self: Arc<Self>, index: usize, turn: Turn) -> impl Stream<Item = Chunk> {
        let begin = self.chunk(index, json!({ "role": "assistant", "content": "", "refusal": null }), None);
        let rest = stream::unfold((self, turn, 0), move |(reply, mut turn, calls)| async move {
            let said = match turn.next().await? {
                Ok(said) => said,
                Err(refusal) => return Some((Err(refusal), (reply, turn, calls))),
            };
            let (mut count, mut took) = (calls, None);
            let chunk = match said {
                Said::Text { text, logprobs } => {
                    let mut chunk = reply.chunk(index, json!({ "content": text }), None);
                    if let Some(token) = &logprobs {
                        let content = [reply.logprob(token)];
                        chunk["choices"][0]["logprobs"] = json!({ "content": content, "refusal": null });
                    }
                    chunk
                }
                Said::Call(call) => {
                    let mut value = reply.call(&call);
                    value["index"] = calls.into();
                    count += 1;
                    reply.chunk(index, json!({ "tool_calls": [value] }), None)
                }
                Said::End { reason, called, usage } => {
                    took = Some(Took::new(&usage, index == 0));
                    reply.chunk(index, json!({}), Some(finish_reason(reason, called)))
                }
            };
            Some((Ok((chunk, took)), (reply, turn, count)))
        });
        stream::once(async move { Ok((begin, None)) }).chain(rest)
    }

    fn chunk(&self, index: usize, delta: Value, reason: Option<&str>) -> Value {
        let choice = json!({ "index": index, "delta": delta, "logprobs": null, "finish_reason": reason });
        self.object("chat.completion.chunk", vec![choice])
    }

    fn object(&self, kind: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.app.settings.model,
            "system_fingerprint": format!("sterna-{}", env!("CARGO_PKG_VERSION")),
            "choices": choices,
        })
    }

    fn call(&self, Call { name, arguments }: &Call) -> Value {
        json!({ "id": self.app.id("call"), "type": "function", "function": { "name": name, "arguments": arguments } })
    }

    fn logprob(&self, (own, others): &(Logprob, Vec<Logprob>)) -> Value {
        let of = |logprob: &Logprob| {
            let (token, bytes) = (self.app.token_text(logprob.id), self.app.token_bytes(logprob.id));
            json!({ "token": token, "logprob": logprob.logprob, "bytes": bytes })
        };
        let mut value = of(own);
        value["top_logprobs"] = others.iter().map(of).collect();
        value
    }
}

fn finish_reason(reason: FinishReason, called: bool) -> &'static str {
    if called { "tool_calls" } else { reason.as_str() }
}
