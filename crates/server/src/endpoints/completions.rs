//! `/v1/completions`: continuations of texts.
//!
//! Source: <https://platform.openai.com/docs/api-reference/completions>.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sterna::engine::{Logprob, Request};
use sterna::text::stream::Piece;
use sterna::text::{TextStream, Tokenizer};

use super::Endpoint;
use super::chat::{ResponseFormat, StreamOptions};
use crate::app::{self, App};
use crate::body::SampledBody;
use crate::conversation::{Answer, Dialect, Generate};
use crate::error::ApiError;
use crate::model::Model;
use crate::prompt::Prompts;
use crate::sampling::Stop;
use crate::stream::Framing;
use crate::tools::Toolbox;
use crate::turn::{Delta, End, TokenLogprobs};
use crate::usage::TokenCounts;

pub static ENDPOINTS: &[Endpoint] =
    &[Endpoint::post::<SampledBody<CompletionRequest>>("/v1/completions", "Continues texts", || post(complete))
        .media(super::JSON_OR_EVENTS)];

/// The most answers of a request, over all its prompts.
const MAX_CHOICES: usize = 64;
/// Maximum number of generated tokens unless the request sets it; OpenAI's default.
const DEFAULT_TOKENS: usize = 16;
/// The most alternatives that are reported with a token.
const MAX_LOGPROBS: usize = 5;

/// Texts, and how their continuations are generated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CompletionRequest {
    /// The prompts: one or a list, each as text or as token ids.
    prompt: Prompts,
    /// Name of the model. Default: the default model.
    model: Option<String>,
    /// Maximum number of generated tokens for each answer; 0 scores the prompts alone. Default: 16.
    max_tokens: Option<usize>,
    /// Number of answers for each prompt; at most 64 over all prompts. Default: 1.
    #[schemars(range(min = 1, max = MAX_CHOICES))]
    n: Option<usize>,
    /// Texts that end an answer and are not part of it: one, or a list of up to 16. Default: none.
    stop: Option<Stop>,
    /// Put the prompt before its answer, with its tokens if log-probabilities are reported. Default: false.
    echo: Option<bool>,
    /// Report the log-probability of each generated token, with this number of alternatives, 0 to 5. Default: no
    /// log-probabilities.
    #[schemars(range(max = MAX_LOGPROBS))]
    logprobs: Option<usize>,
    /// Form that the answers must have. Not in OpenAI's API. Default: any text.
    response_format: Option<ResponseFormat>,
    /// Send the answers as server-sent events while they are generated. Default: false.
    stream: Option<bool>,
    /// Options for streams. Default: none.
    stream_options: Option<StreamOptions>,
}

async fn complete(
    State(app): State<Arc<App>>,
    SampledBody { request, sampling }: SampledBody<CompletionRequest>,
) -> Result<Response, ApiError> {
    let model = app.model(request.model.as_deref()).await?;
    let (texts, count) = (request.prompt.len(), request.n.unwrap_or(1));
    if count == 0 || texts == 0 || count.saturating_mul(texts) > MAX_CHOICES {
        let message = format!("{texts} texts with {count} answers each; together it must be 1 to {MAX_CHOICES}");
        return Err(ApiError::field(if texts == 0 { "prompt" } else { "n" }, message));
    }
    if request.logprobs > Some(MAX_LOGPROBS) {
        return Err(ApiError::field("logprobs", format!("logprobs may be up to {MAX_LOGPROBS}")));
    }
    let max_tokens = request.max_tokens.unwrap_or(DEFAULT_TOKENS);
    let echo = request.echo.unwrap_or(false);
    let scores = match request.logprobs.filter(|_| echo) {
        None if max_tokens == 0 => Some(0),
        scores => scores,
    };
    let form = ResponseFormat::form(request.response_format);
    // Clients that score texts ask for one token more than they score, and count on its log-probability.
    let ignore_eos = scores.is_some() && max_tokens == 1 && form.is_none();
    let generate = Generate {
        model: model.clone(),
        prompts: request.prompt,
        count,
        tools: Toolbox::default(),
        form,
        stream: request.stream.unwrap_or(false),
        request: Request::default()
            .max_tokens(max_tokens)
            .ignore_eos(ignore_eos)
            .sampling(sampling.sampling(&app)?)
            .stop(Stop::texts(request.stop)?)
            .logprobs(request.logprobs),
    };
    let dialect = Completions {
        model,
        id: app.id("cmpl"),
        created: app::now(),
        include_usage: request.stream_options.unwrap_or_default().include_usage == Some(true),
        count,
        echo,
        logprobs: request.logprobs.is_some(),
        scores,
        choices: (0..texts * count).map(|_| Choice::default()).collect(),
    };
    generate.respond(&app, dialect).await
}

/// OpenAI's API of completions.
struct Completions {
    model: Arc<Model>,
    id: String,
    created: u64,
    include_usage: bool,
    /// Answers for each prompt.
    count: usize,
    /// Whether the prompts are echoed.
    echo: bool,
    /// Whether log-probabilities are reported.
    logprobs: bool,
    /// The number of alternatives with each token of the prompts, if these are scored.
    scores: Option<usize>,
    choices: Vec<Choice>,
}

/// The state of one answer.
#[derive(Clone, Default)]
struct Choice {
    /// The echoed prompt, until it is sent.
    echo: String,
    /// Its tokens, until they are sent, if log-probabilities are reported.
    tokens: Vec<PromptToken>,
    /// Characters before the next token, echo included.
    characters: usize,
}

/// A token of an echoed prompt.
#[derive(Clone)]
struct PromptToken {
    id: u32,
    /// Characters before it.
    offset: usize,
    /// `None` for the first token, which nothing predicts.
    logprobs: Option<TokenLogprobs>,
}

/// The tokens of a prompt, with the log-probabilities of all but the first.
fn prompt_tokens(tokenizer: &Tokenizer, prompt: &[u32], scores: Vec<TokenLogprobs>) -> Vec<PromptToken> {
    let mut text = TextStream::new(tokenizer, &[], &[]);
    let mut characters = 0;
    let logprobs = std::iter::once(None).chain(scores.into_iter().map(Some));
    let token = |(&id, logprobs)| {
        let offset = characters;
        let (Piece::Text(piece) | Piece::Stop { text: piece, .. }) = text.push(id);
        characters += piece.chars().count();
        PromptToken { id, offset, logprobs }
    };
    prompt.iter().zip(logprobs).map(token).collect()
}

impl Dialect for Completions {
    const FRAMING: Framing = Framing::Events;
    const FIELDS: &[(&str, &str)] = &[("grammar", "response_format")];

    fn scores(&self) -> Option<usize> {
        self.scores
    }

    fn prompts(&mut self, prompts: &[Vec<u32>], scores: Vec<Vec<TokenLogprobs>>) -> Result<(), ApiError> {
        if !self.echo {
            return Ok(());
        }
        let tokenizer = self.model.engine.tokenizer()?;
        let mut scores = scores.into_iter();
        for (prompt, choices) in prompts.iter().zip(self.choices.chunks_mut(self.count)) {
            let echo = tokenizer.decode_without_special(prompt)?;
            let scores = scores.next().filter(|_| self.logprobs);
            let tokens = scores.map(|scores| prompt_tokens(tokenizer, prompt, scores)).unwrap_or_default();
            choices.fill(Choice { characters: echo.chars().count(), echo, tokens });
        }
        Ok(())
    }

    fn delta(&mut self, index: usize, delta: Delta) -> Vec<Value> {
        let (text, logprobs, reason) = match delta {
            Delta::Text { text, logprobs } => (text, logprobs, None),
            Delta::Call(_) => return vec![],
            Delta::End(end) => (String::new(), None, Some(end.reason.as_str())),
        };
        let offset = self.choices[index].characters;
        let prompt = std::mem::take(&mut self.choices[index].tokens);
        let generated: Vec<_> = logprobs.into_iter().map(|token| (0, token)).collect();
        let reported = !prompt.is_empty() || !generated.is_empty();
        let logprobs = reported.then(|| self.reported(&prompt, &generated, offset));
        let choice = &mut self.choices[index];
        choice.characters += text.chars().count();
        let text = std::mem::take(&mut choice.echo) + &text;
        let choice = json!({ "text": text, "index": index, "logprobs": logprobs, "finish_reason": reason });
        let mut object = self.object(vec![choice]);
        if self.include_usage {
            object["usage"] = Value::Null;
        }
        vec![object]
    }

    fn closing(&mut self, usage: TokenCounts) -> Option<Value> {
        let mut object = self.object(vec![]);
        object["usage"] = usage.json();
        self.include_usage.then_some(object)
    }

    fn body(&mut self, answers: Vec<(Answer, End)>, usage: TokenCounts) -> Value {
        let choices = answers.iter().zip(&self.choices).enumerate().map(|(index, ((answer, end), choice))| {
            let text = choice.echo.clone() + &answer.text();
            let logprobs = self.logprobs.then(|| self.reported(&choice.tokens, &answer.logprobs, choice.characters));
            let reason = end.reason.as_str();
            json!({ "text": text, "index": index, "logprobs": logprobs, "finish_reason": reason })
        });
        let mut object = self.object(choices.collect());
        object["usage"] = usage.json();
        object
    }
}

impl Completions {
    fn object(&self, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model.name(),
            "choices": choices,
        })
    }

    /// The log-probabilities of a prompt's tokens, and of generated ones, each with its offset in characters beyond
    /// `offset`.
    fn reported(&self, prompt: &[PromptToken], generated: &[(usize, TokenLogprobs)], offset: usize) -> Value {
        let text = |id| self.model.token_text(id);
        let top = |alternatives: &[Logprob]| -> Map<String, Value> {
            alternatives.iter().map(|other| (text(other.id), other.logprob.into())).collect()
        };
        let prompt = prompt.iter().map(|token| (token.id, token.offset, token.logprobs.as_ref()));
        let generated = generated.iter().map(|(at, logprobs)| (logprobs.0.id, offset + at, Some(logprobs)));
        let tokens: Vec<_> = prompt.chain(generated).collect();
        json!({
            "tokens": tokens.iter().map(|(id, ..)| text(*id)).collect::<Vec<_>>(),
            "token_logprobs": tokens.iter().map(|(.., found)| found.map(|(own, _)| own.logprob)).collect::<Vec<_>>(),
            "top_logprobs": tokens.iter().map(|(.., found)| found.map(|(_, others)| top(others))).collect::<Vec<_>>(),
            "text_offset": tokens.iter().map(|(_, offset, _)| offset).collect::<Vec<_>>(),
        })
    }
}
