//! What the model says in its turn: text and calls, whatever tokens they came in.

use std::sync::Arc;

use sterna::engine::{Event, FinishReason, Logprob, Request, Usage};

use crate::answer::Answer;
use crate::app::App;
use crate::error::Refusal;
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
}

impl Turn {
    /// Hands a request to the engine.
    pub fn start(app: &Arc<App>, request: Request, tools: Arc<Toolbox>) -> Result<Self, Refusal> {
        Ok(Self { answer: Answer::start(app, request)?, calls: Calls::new(tools), ready: Vec::new(), called: false })
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
            Some((reason, usage)) => said.push(Said::End { reason, called: self.called, usage }),
            None if said.is_empty() || logprobs.is_some() => said.push(Said::Text { text: String::new(), logprobs }),
            None => {}
        }
        said.reverse();
        self.ready = said;
        self.ready.pop().map(Ok)
    }
}
