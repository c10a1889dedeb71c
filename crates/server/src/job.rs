//! One answer of the engine, as it comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sterna::engine::{Event, Request, Ticket};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Sleep, sleep};

use crate::app::App;
use crate::error::Refusal;
use crate::metrics::Place;

/// A running answer. Dropping it cancels the request: its place in the cache is free before the next step.
pub struct Answer {
    events: UnboundedReceiver<sterna::Result<Event>>,
    _ticket: Ticket,
    place: Place,
    deadline: std::pin::Pin<Box<Sleep>>,
    limit: Duration,
    ended: bool,
}

impl Answer {
    /// Hands a request to the engine.
    pub fn start(app: &Arc<App>, mut place: Place, request: Request) -> Result<Self, Refusal> {
        // It holds at most the tokens of one answer, so a client that reads slowly takes no more than that.
        let (sink, events) = unbounded_channel();
        let ticket = app.engine.submit(request, move |event| drop(sink.send(event)))?;
        place.begun();
        let limit = app.settings.timeout;
        Ok(Self { events, _ticket: ticket, place, deadline: Box::pin(sleep(limit)), limit, ended: false })
    }

    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<Event, Refusal>> {
        if self.ended {
            return None;
        }
        let event = tokio::select! {
            biased;
            event = self.events.recv() => match event {
                Some(event) => event.map_err(Refusal::from),
                None => Err(Refusal::stopping()),
            },
            () = &mut self.deadline => Err(Refusal::late(self.limit.as_secs())),
        };
        match &event {
            Ok(Event::Token { at, .. }) => self.place.token(*at),
            Ok(Event::Finished { usage, .. }) => self.place.finished(usage, Instant::now()),
            Err(refusal) => self.place.failed(refusal.status),
        }
        self.ended = !matches!(event, Ok(Event::Token { .. }));
        Some(event)
    }
}
