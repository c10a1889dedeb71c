//! `/v1/completions`: texts that go on.
//!
//! Source: <https://platform.openai.com/docs/api-reference/completions>.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream::{self, StreamExt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sterna::engine::{Logprob, Request};

use super::chat::{ResponseFormat, StreamOptions};
use super::{Answer, Endpoint};
use crate::app::{self, App};
use crate::body::Asked;
use crate::error::Refusal;
use crate::sampling::Stop;
use crate::stream::{events, side_by_side};
use crate::tools::Toolbox;
use crate::turn::{Said, Turn};
use crate::usage::Took;

pub const ENDPOINT: Endpoint = Endpoint {
    path: "/v1/completions",
    method: "post",
    summary: "Texts that go on",
    request: Some(super::with_drawing::<Completion>),
    answer: Answer::or_events("text/event-stream"),
    route: || post(complete),
};

/// Answers of one request, over all prompts.
const MOST: usize = 64;
/// Tokens of an answer unless it is said: OpenAI's default.
const USUAL_TOKENS: usize = 16;
/// Alternatives of a token.
const MOST_LOGPROBS: usize = 5;

/// Texts, and how they shall go on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Completion {
    /// The texts, as text or as token ids.
    prompt: Prompts,
    /// The server's model; the same if not given.
    model: Option<String>,
    /// Tokens of an answer at most; 16 if not given.
    #[schemars(range(min = 1))]
    max_tokens: Option<usize>,
    /// How many answers for each text.
    #[schemars(range(min = 1, max = MOST))]
    n: Option<usize>,
    /// Texts that end an answer.
    stop: Option<Stop>,
    /// Whether the text stands before its answer.
    echo: Option<bool>,
    /// Alternatives of each token; not given: no log-probabilities.
    #[schemars(range(max = MOST_LOGPROBS))]
    logprobs: Option<usize>,
    /// What an answer must look like; not OpenAI's.
    response_format: Option<ResponseFormat>,
    /// Whether the answers come as events.
    stream: Option<bool>,
    /// What these hold.
    stream_options: Option<StreamOptions>,
    /// Who asks; not read.
    #[serde(rename = "user")]
    _user: Option<String>,
}

/// One text or several, each as text or as token ids.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Prompts {
    /// A text.
    Text(String),
    /// Token ids of one.
    Tokens(Vec<u32>),
    /// Several texts.
    Texts(Vec<String>),
    /// Token ids of several.
    TokenLists(Vec<Vec<u32>>),
}

/// What all answers of a request have in common.
struct Reply {
    app: Arc<App>,
    id: String,
    created: u64,
    include_usage: bool,
}

/// One answer.
struct Choice {
    turn: Turn,
    /// What stands before it: the prompt, if that was asked for.
    before: String,
    /// Characters so far, which log-probabilities are placed by.
    length: usize,
    /// Whether it is the first of its text.
    first: bool,
}

async fn complete(
    State(app): State<Arc<App>>,
    Asked { request, drawing }: Asked<Completion>,
) -> Result<Response, Refusal> {
    app.check_model(request.model.as_deref())?;
    let (texts, count) = (request.prompt.len(), request.n.unwrap_or(1));
    if count == 0 || texts == 0 || count.saturating_mul(texts) > MOST {
        let message = format!("{texts} texts with {count} answers each; together it must be 1 to {MOST}");
        return Err(Refusal::field(if texts == 0 { "prompt" } else { "n" }, message));
    }
    if request.logprobs > Some(MOST_LOGPROBS) {
        return Err(Refusal::field("logprobs", format!("logprobs may be up to {MOST_LOGPROBS}")));
    }
    let tools = Arc::new(Toolbox::default());
    let form = request.response_format.and_then(ResponseFormat::form);
    let (sampling, stop) = (drawing.sampling(&app)?, Stop::texts(request.stop)?);
    let places = (0..texts * count).map(|_| app.enter()).collect::<Result<Vec<_>, _>>()?;
    let mut places = places.into_iter();
    let prompts = app.aside(move |app| encode(app, &request.prompt)).await?;
    let asked = Request {
        max_tokens: Some(request.max_tokens.unwrap_or(USUAL_TOKENS)),
        sampling,
        stop,
        grammar: app.grammar(form, &tools, "response_format").await?,
        logprobs: request.logprobs,
        ..Request::default()
    };
    let mut choices = Vec::new();
    for prompt in prompts {
        let before =
            if request.echo == Some(true) { app.engine.tokenizer()?.decode(&prompt, true)? } else { String::new() };
        for (i, place) in (0..).zip(places.by_ref().take(count)) {
            let mut one = Request { prompt: prompt.clone(), ..asked.clone() };
            one.sampling.seed = one.sampling.seed.wrapping_add(i);
            let turn = Turn::start(&app, place, one, tools.clone())?;
            choices.push(Choice { turn, length: before.chars().count(), before: before.clone(), first: i == 0 });
        }
    }
    let include_usage = request.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
    let reply = Reply { id: app.id("cmpl"), created: app::now(), app, include_usage };
    if request.stream == Some(true) { Ok(reply.stream(choices)) } else { reply.whole(choices).await }
}

impl Prompts {
    /// How many there are.
    fn len(&self) -> usize {
        match self {
            Self::Text(_) | Self::Tokens(_) => 1,
            Self::Texts(texts) => texts.len(),
            Self::TokenLists(lists) => lists.len(),
        }
    }
}

/// Token ids of all prompts.
fn encode(app: &App, prompts: &Prompts) -> Result<Vec<Vec<u32>>, Refusal> {
    let tokenizer = app.engine.tokenizer()?;
    let text = |text: &String| tokenizer.encode(text, true).map_err(Refusal::from);
    match prompts {
        Prompts::Text(one) => Ok(vec![text(one)?]),
        Prompts::Texts(texts) => texts.iter().map(text).collect(),
        Prompts::Tokens(tokens) => Ok(vec![tokens.clone()]),
        Prompts::TokenLists(lists) => Ok(lists.clone()),
    }
}

impl Reply {
    async fn whole(self, choices: Vec<Choice>) -> Result<Response, Refusal> {
        let (mut done, mut total) = (Vec::new(), Took::default());
        for (index, mut choice) in choices.into_iter().enumerate() {
            let (mut text, mut logprobs) = (choice.before.clone(), Vec::new());
            let reason = loop {
                match choice.turn.next().await.ok_or_else(Refusal::stopping)?? {
                    Said::Text { text: more, logprobs: token } => {
                        logprobs.extend(token.map(|token| (choice.length, token)));
                        choice.length += more.chars().count();
                        text.push_str(&more);
                    }
                    Said::Call(_) => {}
                    Said::End { reason, usage, .. } => {
                        total += Took::new(&usage, choice.first);
                        break reason.as_str();
                    }
                }
            };
            let logprobs = if logprobs.is_empty() { Value::Null } else { self.logprobs(&logprobs) };
            done.push(json!({ "text": text, "index": index, "logprobs": logprobs, "finish_reason": reason }));
        }
        let mut object = self.object(done);
        object["usage"] = total.json();
        Ok(Json(object).into_response())
    }

    fn stream(self, choices: Vec<Choice>) -> Response {
        let reply = Arc::new(self);
        let each = choices.into_iter().enumerate().map(|(index, choice)| {
            stream::unfold((reply.clone(), choice), move |(reply, mut choice)| async move {
                let said = match choice.turn.next().await? {
                    Ok(said) => said,
                    Err(refusal) => return Some((Err(refusal), (reply, choice))),
                };
                let (text, logprobs, end) = match said {
                    Said::Text { text, logprobs } => (text, logprobs, None),
                    Said::Call(_) => (String::new(), None, None),
                    Said::End { reason, usage, .. } => {
                        (String::new(), None, Some((reason.as_str(), Took::new(&usage, choice.first))))
                    }
                };
                let logprobs = logprobs.map_or(Value::Null, |token| reply.logprobs(&[(choice.length, token)]));
                choice.length += text.chars().count();
                let text = std::mem::take(&mut choice.before) + &text;
                let reason = end.map(|(reason, _)| reason);
                let chunk = json!({ "text": text, "index": index, "logprobs": logprobs, "finish_reason": reason });
                Some((Ok((reply.object(vec![chunk]), end.map(|(_, took)| took))), (reply, choice)))
            })
            .boxed()
        });
        events(side_by_side(each.collect(), move |took| {
            let mut object = reply.object(vec![]);
            object["usage"] = took.json();
            reply.include_usage.then_some(object)
        }))
    }

    fn object(&self, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.app.settings.model,
            "choices": choices,
        })
    }

    /// Of tokens that begin at these characters.
    fn logprobs(&self, tokens: &[(usize, (Logprob, Vec<Logprob>))]) -> Value {
        let text = |id| self.app.token_text(id);
        let top = |others: &[Logprob]| -> Map<String, Value> {
            others.iter().map(|other| (text(other.id), other.logprob.into())).collect()
        };
        json!({
            "tokens": tokens.iter().map(|(_, (own, _))| text(own.id)).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|(_, (own, _))| own.logprob).collect::<Vec<_>>(),
            "top_logprobs": tokens.iter().map(|(_, (_, others))| top(others)).collect::<Vec<_>>(),
            "text_offset": tokens.iter().map(|(at, _)| at).collect::<Vec<_>>(),
        })
    }
}
