//! The text and the function calls of one answer, parsed from the tokens that the engine generates.

use std::collections::VecDeque;
use std::sync::Arc;

use sterna::engine::{Event, FinishReason, Logprob, Request, Usage};

use crate::app::App;
use crate::error::ApiError;
use crate::job::Job;
use crate::metrics::InFlight;
use crate::model::Model;
use crate::tools::{Call, CallParser, Part, Toolbox};

/// A token's log-probability, and those of its likeliest alternatives.
pub type TokenLogprobs = (Logprob, Vec<Logprob>);

/// The next piece of an answer.
#[derive(Clone, Debug)]
pub enum Delta {
    /// Text and the token that completed it. The text is empty while a character or a call is incomplete.
    Text { text: String, logprobs: Option<TokenLogprobs> },
    /// A call, once it is complete.
    Call(Call),
    /// The end; nothing follows.
    End(End),
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub struct End {
    pub reason: FinishReason,
    /// Index of the stop text that ended the answer.
    pub stop: Option<usize>,
    /// Whether the answer has function calls.
    pub called: bool,
    pub usage: Usage,
}

/// An answer that is being generated.
pub struct Turn {
    job: Job,
    calls: CallParser,
    /// Pieces that are parsed but not yet returned, oldest first.
    ready: VecDeque<Delta>,
    called: bool,
    /// The text so far, if texts are logged.
    logged: Option<String>,
}

impl Turn {
    /// Submits a request to the engine.
    ///
    /// # Errors
    /// Those of [`Job::start`].
    pub fn start(
        app: &App,
        model: Arc<Model>,
        in_flight: Arc<InFlight>,
        request: Request,
        tools: Arc<Toolbox>,
    ) -> Result<Self, ApiError> {
        let logged = app.settings.log_text.then(String::new);
        if logged.is_some() {
            let prompt = model.engine.tokenizer().and_then(|tokenizer| tokenizer.decode(&request.prompt));
            tracing::info!(prompt = prompt.unwrap_or_default());
        }
        let job = Job::start(model, app.limits(), in_flight, request)?;
        Ok(Self { job, calls: CallParser::new(tools), ready: VecDeque::new(), called: false, logged })
    }

    /// The next piece; `None` after the end or an error.
    pub async fn next(&mut self) -> Option<Result<Delta, ApiError>> {
        if self.ready.is_empty() {
            match self.job.next().await? {
                Ok(Event::Token { text, logprobs, .. }) => self.text(&text, logprobs),
                Ok(Event::Finished { text, reason, stop, usage }) => self.end(&text, reason, stop, usage),
                // Events of other work than generating.
                Ok(_) => self.text("", None),
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front().map(Ok)
    }

    fn text(&mut self, text: &str, mut logprobs: Option<TokenLogprobs>) {
        let parts = self.parse(text);
        self.push(parts, &mut logprobs);
        // Every token is reported, also one that completes no text.
        if self.ready.is_empty() || logprobs.is_some() {
            self.ready.push_back(Delta::Text { text: String::new(), logprobs });
        }
    }

    fn end(&mut self, text: &str, reason: FinishReason, stop: Option<usize>, usage: Usage) {
        let mut parts = self.parse(text);
        parts.extend(self.calls.finish(reason));
        self.push(parts, &mut None);
        tracing::info!(
            reason = reason.as_str(),
            prompt_tokens = usage.prompt_tokens,
            cached_tokens = usage.cached_tokens,
            tokens = usage.tokens,
            first_token_s = usage.prefill_seconds,
            tokens_per_s = usage.decode_tokens_per_s(),
            answer = self.logged.take()
        );
        self.ready.push_back(Delta::End(End { reason, stop, called: self.called, usage }));
    }

    fn parse(&mut self, text: &str) -> Vec<Part> {
        if let Some(logged) = &mut self.logged {
            logged.push_str(text);
        }
        self.calls.push(text)
    }

    /// The log-probabilities go with the first text.
    fn push(&mut self, parts: Vec<Part>, logprobs: &mut Option<TokenLogprobs>) {
        for part in parts {
            self.ready.push_back(match part {
                Part::Text(text) => Delta::Text { text, logprobs: logprobs.take() },
                Part::Call(call) => {
                    self.called = true;
                    Delta::Call(call)
                }
            });
        }
    }
}
