//! Answers as events while they come.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use serde_json::Value;

use crate::error::Refusal;
use crate::usage::Took;

/// Comments between events keep connections alive through proxies that end quiet ones.
const QUIET: Duration = Duration::from_secs(15);

/// An object of one answer, and at its end what it took.
pub type Chunk = Result<(Value, Option<Took>), Refusal>;

/// The chunks of several answers as they come, and what `last` makes of what all took. After an error nothing follows, and
/// the other answers are cancelled.
pub fn side_by_side(
    answers: Vec<BoxStream<'static, Chunk>>,
    last: impl Fn(Took) -> Option<Value> + Clone + Send + 'static,
) -> impl Stream<Item = Result<Value, Refusal>> + Send {
    let state = (stream::select_all(answers), Took::default(), false);
    stream::unfold(state, move |(mut answers, mut total, ended)| {
        let last = last.clone();
        async move {
            match answers.next().await {
                Some(Ok((chunk, took))) => {
                    total += took.unwrap_or_default();
                    Some((Ok(chunk), (answers, total, ended)))
                }
                Some(Err(refusal)) => Some((Err(refusal), (stream::select_all([]), total, true))),
                None if ended => None,
                None => last(total).map(|chunk| (Ok(chunk), (answers, total, true))),
            }
        }
    })
}

/// Server-sent events as OpenAI writes them: an object each, or an error, and `[DONE]` at the end.
pub fn events(objects: impl Stream<Item = Result<Value, Refusal>> + Send + 'static) -> Response {
    let event = |object: Result<Value, Refusal>| {
        let object = object.unwrap_or_else(|refusal| refusal.json());
        Ok::<_, Infallible>(Event::default().data(object.to_string()))
    };
    let done = stream::once(async { Ok(Event::default().data("[DONE]")) });
    respond(objects.map(event).chain(done))
}

/// Server-sent events with the name that each object's `type` is, as OpenAI's newer endpoints write them.
pub fn named_events(objects: impl Stream<Item = Value> + Send + 'static) -> Response {
    respond(objects.map(|object| {
        let name = object["type"].as_str().unwrap_or("error").to_owned();
        Ok(Event::default().event(name).data(object.to_string()))
    }))
}

fn respond(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(events).keep_alive(KeepAlive::new().interval(QUIET).text("")).into_response()
}
