//! The framing of a streamed answer.
//!
//! ```text
//! Events        data: {…}                    NamedEvents   event: TYPE       Lines   {…}
//!               data: {…}                                  data: {…}                 {…}
//!               data: [DONE]
//! ```

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::Value;

/// Interval of the comments that keep idle streams of events open through proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// nginx collects a response before it sends it on, unless the response says otherwise.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// How the JSON objects of a stream are written.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    /// Server-sent events without names, then `[DONE]`.
    Events,
    /// Server-sent events, each named by its object's `type`.
    NamedEvents,
    /// One object on each line (NDJSON).
    Lines,
}

impl Framing {
    /// A response that sends each object as soon as it is there.
    pub fn response(self, objects: impl Stream<Item = Value> + Send + 'static) -> Response {
        match self {
            Self::Events => {
                let done = stream::once(async { Event::default().data("[DONE]") });
                events(objects.map(|object| Event::default().data(object.to_string())).chain(done))
            }
            Self::NamedEvents => events(objects.map(|object| {
                let name = object["type"].as_str().unwrap_or("error");
                Event::default().event(name).data(object.to_string())
            })),
            Self::Lines => {
                let lines = objects.map(|object| Ok::<_, Infallible>(Bytes::from(format!("{object}\n"))));
                ([(header::CONTENT_TYPE, "application/x-ndjson"), UNBUFFERED], Body::from_stream(lines)).into_response()
            }
        }
    }
}

fn events(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("");
    ([UNBUFFERED], Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(keep_alive)).into_response()
}
