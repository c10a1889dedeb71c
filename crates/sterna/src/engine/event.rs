//! Events of running work.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sterna_kernels::Rows;

use super::Logprob;
use crate::{Error, Result};

/// An event of running work.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A token was drawn. `text` is empty while a character is incomplete.
    Token {
        /// Token id.
        id: u32,
        /// Text that became final; always empty if the model has no tokenizer.
        text: String,
        /// The token's log-probability and the best alternatives, if requested.
        logprobs: Option<(Logprob, Vec<Logprob>)>,
        /// When the token was drawn, independent of when the event is read. `None` from a manually driven
        /// [`Runner`](super::Runner), which has no clock.
        at: Option<Instant>,
    },
    /// Hidden states of a scored text, in order.
    Hidden {
        /// Index of the token of the first row.
        first: usize,
        /// The input of the head: one row for each token.
        rows: Rows,
    },
    /// The embedding of a text.
    Embedding(Vec<f32>),
    /// The work ended; no event follows.
    Finished {
        /// Why the work ended.
        reason: FinishReason,
        /// Text that was held back until now; empty unless text is generated.
        text: String,
        /// Index in [`Request::stop`](super::Request::stop) of the stop string that ended the answer.
        stop: Option<usize>,
        /// Token counts and times.
        usage: Usage,
    },
}

/// Why work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishReason {
    /// A stop token or a stop string. For work other than generating: everything was computed.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
}

impl FinishReason {
    /// The name in OpenAI's API: "stop" or "length".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Token counts and times of one piece of work. Times are 0 from a manually driven [`Runner`](super::Runner).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Prompt tokens, after truncation.
    pub prompt_tokens: usize,
    /// Prompt tokens whose keys and values came from the prefix cache.
    pub cached_tokens: usize,
    /// Generated tokens: the number of [`Event::Token`]. A stop token does not count.
    pub tokens: usize,
    /// Time to first token in seconds, including the time in the queue.
    pub prefill_seconds: f64,
    /// Seconds from the first token to the last.
    pub decode_seconds: f64,
    /// Draft tokens that speculation proposed.
    pub drafted: usize,
    /// Draft tokens that were accepted.
    pub accepted: usize,
}

impl Usage {
    /// Computed prompt tokens, those that did not come from the prefix cache, per second.
    pub fn prefill_tokens_per_s(&self) -> f64 {
        rate(self.prompt_tokens.saturating_sub(self.cached_tokens), self.prefill_seconds)
    }

    /// Generated tokens per second, without the first; 0 for fewer than two.
    pub fn decode_tokens_per_s(&self) -> f64 {
        rate(self.tokens.saturating_sub(1), self.decode_seconds)
    }
}

/// The rate, or 0 if the clock did not advance.
fn rate(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Handle of submitted work ([`Engine::submit`](super::Engine::submit)). Dropping it cancels the work.
#[derive(Debug)]
pub struct Ticket {
    /// The engine holds a weak reference. Once this is dropped, the request is cancelled.
    _alive: Arc<()>,
}

impl Ticket {
    /// A ticket, and a weak reference that shows whether it was dropped.
    pub(super) fn new() -> (Self, Weak<()>) {
        let alive = Arc::new(());
        let told = Arc::downgrade(&alive);
        (Self { _alive: alive }, told)
    }
}

/// A running generation: an iterator of events that ends after [`Event::Finished`]. Dropping it cancels the request.
///
/// `next` blocks until an event arrives. If the engine fails or stops, the last item is an error.
#[derive(Debug)]
pub struct Generation {
    events: Receiver<Result<Event>>,
    _ticket: Ticket,
    /// An item that [`Generation::ready`] has received and [`Iterator::next`] has not returned yet.
    next: Option<Result<Event>>,
    ended: bool,
}

impl Generation {
    pub(super) fn new(events: Receiver<Result<Event>>, ticket: Ticket) -> Self {
        Self { events, _ticket: ticket, next: None, ended: false }
    }

    /// Waits for the next item, for at most `patience`. `false` if [`Iterator::next`] would still block. Callers can
    /// use it to check for cancellation.
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
