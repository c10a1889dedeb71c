//! What comes back: events of a running generation.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sterna_kernels::Rows;

use super::Logprob;
use crate::{Error, Result};

/// What happens while a piece of work is computed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A token was drawn. `text` may be empty while a character is incomplete.
    Token {
        /// Token id.
        id: u32,
        /// Text that became final; always empty if the model has no tokenizer.
        text: String,
        /// The token's log-probability and the best alternatives, if asked for.
        logprobs: Option<(Logprob, Vec<Logprob>)>,
        /// When it was drawn, however late the event is taken; `None` from a [`Runner`](super::Runner) that is driven by
        /// hand: it has no clock.
        at: Option<Instant>,
    },
    /// Hidden states of a text that is scored, in order.
    Hidden {
        /// Index of the token that the first row belongs to.
        first: usize,
        /// What the head reads: a row for each token.
        rows: Rows,
    },
    /// The vector of a text that is embedded.
    Embedding(Vec<f32>),
    /// The work ended; nothing follows.
    Finished {
        /// Why.
        reason: FinishReason,
        /// Text that was held back until now; empty for other work than generating.
        text: String,
        /// What it took.
        usage: Usage,
    },
}

/// Why a piece of work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// A stop token or a stop string; for other work than generating: everything was computed.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
}

impl FinishReason {
    /// "stop" or "length", as OpenAI's API names them.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Counts and times of one piece of work. Seconds are 0 from a [`Runner`](super::Runner) that is driven by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt (after truncation).
    pub prompt_tokens: usize,
    /// Of these, the ones whose keys and values an earlier request had left.
    pub cached_tokens: usize,
    /// Tokens generated: the number of [`Event::Token`]; a stop token is none.
    pub tokens: usize,
    /// Seconds from the request to the first token, waiting for other requests included.
    pub prefill_seconds: f64,
    /// Seconds from the first token to the last.
    pub decode_seconds: f64,
    /// Tokens that speculation proposed; 0 without it.
    pub drafted: usize,
    /// Of these, the tokens that were drawn.
    pub accepted: usize,
}

impl Usage {
    /// Prompt tokens a second.
    pub fn prefill_tokens_per_s(&self) -> f64 {
        rate(self.prompt_tokens, self.prefill_seconds)
    }

    /// Generated tokens a second, the first one not counted; 0 for fewer than two.
    pub fn decode_tokens_per_s(&self) -> f64 {
        rate(self.tokens.saturating_sub(1), self.decode_seconds)
    }
}

/// 0 where a clock did not advance.
fn rate(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// A piece of work that was handed in ([`Engine::submit`](super::Engine::submit)). Dropping it cancels the work.
#[derive(Debug)]
pub struct Ticket {
    /// The engine holds the weak side: once this is gone, the request is cancelled.
    _alive: Arc<()>,
}

impl Ticket {
    /// A ticket, and what tells whether it was dropped.
    pub(super) fn new() -> (Self, Weak<()>) {
        let alive = Arc::new(());
        let told = Arc::downgrade(&alive);
        (Self { _alive: alive }, told)
    }
}

/// A running generation: an iterator of events that ends after [`Event::Finished`]. Dropping it cancels.
///
/// `next` blocks until something happens. If the engine fails or stops, the last item is an error.
#[derive(Debug)]
pub struct Generation {
    events: Receiver<Result<Event>>,
    _ticket: Ticket,
    /// What [`Generation::ready`] has taken and [`Iterator::next`] has not returned yet.
    next: Option<Result<Event>>,
    ended: bool,
}

impl Generation {
    pub(super) fn new(events: Receiver<Result<Event>>, ticket: Ticket) -> Self {
        Self { events, _ticket: ticket, next: None, ended: false }
    }

    /// Waits until the next item is there, at most for `patience`; `false` if [`Iterator::next`] would still block. It lets
    /// a caller look for a cancellation now and then.
    pub fn ready(&mut self, patience: Duration) -> bool {
        if self.next.is_none() && !self.ended {
            self.next = match self.events.recv_timeout(patience) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => Some(Err(Error::EngineStopped)),
            };
        }
        true
    }
}

impl Iterator for Generation {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let event =
            self.next.take().unwrap_or_else(|| self.events.recv().unwrap_or_else(|_| Err(Error::EngineStopped)));
        self.ended = matches!(event, Ok(Event::Finished { .. }) | Err(_));
        Some(event)
    }
}

impl std::iter::FusedIterator for Generation {}
