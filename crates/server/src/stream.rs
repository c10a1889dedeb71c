//! Answers as events while they come.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::Value;

use crate::error::Refusal;

/// Comments between events keep connections alive through proxies that end quiet ones.
const QUIET: Duration = Duration::from_secs(15);

/// Server-sent events as OpenAI writes them: an object each, or an error, and `[DONE]` at the end.
pub fn events(objects: impl Stream<Item = Result<Value, Refusal>> + Send + 'static) -> Response {
    let event = |object: Result<Value, Refusal>| {
        let object = object.unwrap_or_else(|refusal| refusal.json());
        Ok::<_, Infallible>(Event::default().data(object.to_string()))
    };
    let done = stream::once(async { Ok(Event::default().data("[DONE]")) });
    let keep_alive = KeepAlive::new().interval(QUIET).text("");
    Sse::new(objects.map(event).chain(done)).keep_alive(keep_alive).into_response()
}
