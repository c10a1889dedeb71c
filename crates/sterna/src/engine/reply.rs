//! Sends events to a caller, with exactly one final item.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;

use super::Event;
use crate::{Error, Result};

/// Sends the events of one request.
///
/// The last item is always [`Event::Finished`] or an error. A reply that is dropped before sends
/// [`Error::EngineStopped`], unless the caller cancelled the request. A sink that panics ends only its own request.
pub(super) struct Reply {
    sink: Box<dyn FnMut(Result<Event>) + Send>,
    /// Expires when the caller drops the ticket.
    ticket: Weak<()>,
    /// Whether the last item was sent.
    ended: bool,
}

impl Reply {
    pub fn new(sink: impl FnMut(Result<Event>) + Send + 'static, ticket: Weak<()>) -> Self {
        Self { sink: Box::new(sink), ticket, ended: false }
    }

    /// Whether the caller cancelled the request, or its sink panicked.
    pub fn cancelled(&self) -> bool {
        self.ended || self.ticket.strong_count() == 0
    }

    /// Sends an item. Items after the last one are dropped.
    pub fn send(&mut self, item: Result<Event>) {
        if self.ended {
            return;
        }
        self.ended = matches!(item, Ok(Event::Finished { .. }) | Err(_));
        if catch_unwind(AssertUnwindSafe(|| (self.sink)(item))).is_err() && !self.ended {
            self.ended = true;
            let error = Error::request("sink", "the function that takes the events panicked");
            // A second panic is ignored, because the sink is the only way to report it.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.sink)(Err(error))));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.cancelled() {
            self.send(Err(Error::EngineStopped));
        }
        // Values owned by the sink may panic when they are dropped.
        let sink = std::mem::replace(&mut self.sink, Box::new(|_| ()));
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sink)));
    }
}
