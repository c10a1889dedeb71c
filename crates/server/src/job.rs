//! A job of the engine: its events as they come, with a deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sterna::engine::{Event, Ticket, Work};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

use crate::error::ApiError;
use crate::metrics::InFlight;
use crate::model::Model;

/// When jobs end although they are not finished.
pub struct Limits {
    /// The longest time of a job.
    pub timeout: Duration,
    /// Whether the server ends all answers.
    pub shut_down: watch::Receiver<bool>,
}

/// A running job. Dropping it cancels the request, which frees its part of the cache before the next step.
pub struct Job {
    events: UnboundedReceiver<sterna::Result<Event>>,
    _ticket: Ticket,
    /// Stays in memory while the job runs.
    _model: Arc<Model>,
    in_flight: Arc<InFlight>,
    deadline: Pin<Box<Sleep>>,
    limit: Duration,
    /// Whether the server ends all answers.
    shut_down: watch::Receiver<bool>,
    ended: bool,
}

impl Job {
    /// Submits work of any kind to the model's engine. Beyond the `limits` the job ends with an error.
    ///
    /// # Errors
    /// 400 for work that the model cannot do, 503 if the engine has stopped.
    pub fn start(
        model: Arc<Model>,
        limits: Limits,
        in_flight: Arc<InFlight>,
        work: impl Into<Work>,
    ) -> Result<Self, ApiError> {
        // The channel holds the events of one answer at most, however slowly the client reads.
        let (sender, events) = unbounded_channel();
        // A job that was dropped is not counted any more, although the engine may still be at work on it.
        let counted = Arc::downgrade(&in_flight);
        let sink = move |event: sterna::Result<Event>| {
            if let Some(in_flight) = counted.upgrade() {
                in_flight.event(&event);
            }
            drop(sender.send(event));
        };
        in_flight.submitted();
        let ticket = model.engine.submit(work, sink).map_err(ApiError::from);
        let _ticket = ticket.inspect_err(|error| in_flight.failed(error.status))?;
        let Limits { timeout: limit, shut_down } = limits;
        let deadline = Box::pin(sleep(limit));
        Ok(Self { events, _ticket, _model: model, in_flight, deadline, limit, shut_down, ended: false })
    }

    /// The next event; `None` after the last one.
    pub async fn next(&mut self) -> Option<Result<Event, ApiError>> {
        if self.ended {
            return None;
        }
        let event = tokio::select! {
            biased;
            event = self.events.recv() => match event {
                Some(event) => event.map_err(ApiError::from),
                None => Err(sterna::Error::EngineStopped.into()),
            },
            _ = self.shut_down.wait_for(|ended| *ended) => Err(ApiError::shut_down()),
            () = &mut self.deadline => Err(ApiError::timeout(self.limit.as_secs())),
        };
        if let Err(error) = &event {
            self.in_flight.failed(error.status);
        }
        self.ended = matches!(event, Ok(Event::Finished { .. }) | Err(_));
        Some(event)
    }
}
