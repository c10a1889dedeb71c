//! The way back to a caller: events, and exactly one last item.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;

use super::Event;
use crate::{Error, Result};

/// Where the events of one request go.
///
/// The last item is [`Event::Finished`] or an error, whatever happens: a reply that is dropped before it says
/// [`Error::EngineStopped`], unless the caller cancelled the request. A sink that panics ends its own request only.
pub(super) struct Reply {
    sink: Box<dyn FnMut(Result<Event>) + Send>,
    /// Dead once the caller dropped the ticket.
    ticket: Weak<()>,
    /// Whether the last item was handed over.
    ended: bool,
}

impl Reply {
    pub fn new(sink: impl FnMut(Result<Event>) + Send + 'static, ticket: Weak<()>) -> Self {
        Self { sink: Box::new(sink), ticket, ended: false }
    }

    /// Whether the caller has cancelled the request, or its sink has panicked.
    pub fn cancelled(&self) -> bool {
        self.ended || self.ticket.strong_count() == 0
    }

    /// Hands an item over; items after the last one are dropped.
    pub fn send(&mut self, item: Result<Event>) {
        if self.ended {
            return;
        }
        self.ended = matches!(item, Ok(Event::Finished { .. }) | Err(_));
        if catch_unwind(AssertUnwindSafe(|| (self.sink)(item))).is_err() && !self.ended {
            self.ended = true;
            let error = Error::request("sink", "the function that takes the events panicked");
            // A sink that panics again has no other way to be told.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.sink)(Err(error))));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.cancelled() {
            self.send(Err(Error::EngineStopped));
        }
        // What the sink owns may panic as it is dropped.
        let sink = std::mem::replace(&mut self.sink, Box::new(|_| ()));
        let _ = catch_unwind(AssertUnwindSafe(|| drop(sink)));
    }
}
