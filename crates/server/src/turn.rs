//! What the model says in its turn: text and calls, whatever tokens they came in.

use std::sync::Arc;

use sterna::engine::{Event, FinishReason, Logprob, Request, Usage};

use crate::answer::Answer;
use crate::app::App;
use crate::error::Refusal;
use crate::metrics::Place;
use crate::tools::{Call, Calls, Part, Toolbox};

/// Something that was said.
#[derive(Clone, Debug)]
pub enum Said {
    /// Text, empty while a character or a call is incomplete, and the token that completed it.
    Text {
        text: String,
        logprobs: Option<(Logprob, Vec<Logprob>)>,
    },
    Call(Call),
    /// The end. `called`: functions were.
    End {
        reason: FinishReason,
        called: bool,
        usage: Usage,
    },
}

/// A turn while it is written.
pub struct Turn {
    answer: Answer,
    calls: Calls,
    /// Said, but not yet asked for; the first is the last.
    ready: Vec<Said>,
    called: bool,
    /// Everything that was written, if texts are logged.
    written: Option<String>,
}

impl Turn {
    /// Hands a request to the engine.
    pub fn start(app: &Arc<App>, place: Place, request: Request, tools: Arc<Toolbox>) -> Result<Self, Refusal> {
        let written = app.settings.log_text.then(String::new);
        if written.is_some() {
            let prompt = app.engine.tokenizer().and_then(|tokenizer| tokenizer.decode(&request.prompt, false));
            tracing::info!(prompt = prompt.unwrap_or_default());
        }
        let answer = Answer::start(app, place, request)?;
        Ok(Self { answer, calls: Calls::new(tools), ready: Vec::new(), called: false, written })
    }

    /// What is said next; `None` after the end.
    pub async fn next(&mut self) -> Option<Result<Said, Refusal>> {
        if let Some(said) = self.ready.pop() {
            return Some(Ok(said));
        }
        let (text, mut logprobs, end) = match self.answer.next().await? {
            Ok(Event::Token { text, logprobs, .. }) => (text, logprobs, None),
            Ok(Event::Finished { text, reason, usage }) => (text, None, Some((reason, usage))),
            Err(refusal) => return Some(Err(refusal)),
        };
        if let Some(written) = &mut self.written {
            written.push_str(&text);
        }
        let mut parts = self.calls.push(&text);
        if end.is_some() {
            parts.extend(self.calls.finish());
        }
        let mut said = Vec::new();
        for part in parts {
            said.push(match part {
                Part::Text(text) => Said::Text { text, logprobs: logprobs.take() },
                Part::Call(call) => {
                    self.called = true;
                    Said::Call(call)
                }
            });
        }
        match end {
            Some((reason, usage)) => {
                tracing::info!(
                    reason = reason.as_str(),
                    prompt_tokens = usage.prompt_tokens,
                    cached_tokens = usage.cached_tokens,
                    tokens = usage.tokens,
                    first_token_s = usage.prefill_seconds,
                    tokens_per_s = usage.decode_tokens_per_s(),
                    answer = self.written.take()
                );
                said.push(Said::End { reason, called: self.called, usage });
            }
            None if said.is_empty() || logprobs.is_some() => said.push(Said::Text { text: String::new(), logprobs }),
            None => {}
        }
        said.reverse();
        self.ready = said;
        self.ready.pop().map(Ok)
    }
}
