//! From a request to its response: written once, for every API.
//!
//! ```text
//! endpoint ──Generate──► queue ─► encode ─► grammar ─► a Turn for each answer
//!                                                           │ Delta
//!                                    Dialect ◄──────────────┘
//!                                       │ streamed: opening, deltas …, closing (or an error)
//!                                       └ otherwise: body
//! ```
//! An endpoint reads its API's fields into a [`Generate`]; its [`Dialect`] writes the answers in that API's words.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::Json;
use axum::response::{IntoResponse, Response};
use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream, SelectAll, StreamExt};
use serde_json::Value;
use sterna::engine::{Event, FinishReason, Request, Score, Usage};
use sterna_grammar::Form;

use crate::app::App;
use crate::error::ApiError;
use crate::job::Job;
use crate::metrics::InFlight;
use crate::model::Model;
use crate::prompt::Prompts;
use crate::stream::Framing;
use crate::tools::{Call, Part, Toolbox};
use crate::turn::{Delta, End, TokenLogprobs, Turn};
use crate::usage::TokenCounts;

/// How an API writes the answers to one request.
pub trait Dialect: Send + 'static {
    /// The framing of streamed answers.
    const FRAMING: Framing;
    /// Pairs of names: a field of [`Request`] and what the API calls it. Errors name the latter.
    const FIELDS: &[(&str, &str)];

    /// The number of alternatives that are reported with each token of the prompts, if prompts are scored. Then a request
    /// of no tokens is one to score the prompts alone.
    fn scores(&self) -> Option<usize> {
        None
    }

    /// Takes note of the prompts' token ids, before anything is generated. If prompts are scored, `scores` has for each the
    /// log-probabilities of all tokens but the first.
    ///
    /// # Errors
    /// For prompts that the dialect cannot answer.
    fn prompts(&mut self, _prompts: &[Vec<u32>], _scores: Vec<Vec<TokenLogprobs>>) -> Result<(), ApiError> {
        Ok(())
    }

    /// The objects that a stream begins with.
    fn opening(&mut self) -> Vec<Value> {
        Vec::new()
    }

    /// The objects of a stream for the next piece of answer `index`.
    fn delta(&mut self, index: usize, delta: Delta) -> Vec<Value>;

    /// The object that ends a stream after all answers, if the API has one.
    fn closing(&mut self, _usage: TokenCounts) -> Option<Value> {
        None
    }

    /// The object of a stream for an error; nothing follows it.
    fn error(&mut self, error: &ApiError) -> Value {
        error.json()
    }

    /// The body of a response that is not streamed.
    fn body(&mut self, answers: Vec<(Answer, End)>, usage: TokenCounts) -> Value;
}

/// An answer that is collected.
#[derive(Default)]
pub struct Answer {
    /// Texts and calls in their order, neighbouring texts joined.
    pub parts: Vec<Part>,
    /// Log-probabilities of the tokens, if asked for, each with the number of characters before it.
    pub logprobs: Vec<(usize, TokenLogprobs)>,
    characters: usize,
}

impl Answer {
    /// The text without the calls.
    pub fn text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(&**text) } else { None });
        texts.collect()
    }

    /// The calls.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.parts.iter().filter_map(|part| if let Part::Call(call) = part { Some(call) } else { None })
    }

    fn push(&mut self, text: String, logprobs: Option<TokenLogprobs>) {
        self.logprobs.extend(logprobs.map(|token| (self.characters, token)));
        self.characters += text.chars().count();
        match self.parts.last_mut() {
            Some(Part::Text(before)) => before.push_str(&text),
            _ if text.is_empty() => {}
            _ => self.parts.push(Part::Text(text)),
        }
    }
}

/// What a request asks the model to generate.
pub struct Generate {
    pub model: Arc<Model>,
    pub prompts: Prompts,
    /// Answers for each prompt; the seed of answer `i` is the request's seed plus `i`.
    pub count: usize,
    pub tools: Toolbox,
    /// The form that every answer must have.
    pub form: Option<Form>,
    /// Whether the response is a stream.
    pub stream: bool,
    /// The other fields of the engine's request; `prompt` and `grammar` come from those above.
    pub request: Request,
}

impl Generate {
    /// Generates the answers, and responds with them.
    ///
    /// # Errors
    /// For requests that cannot be answered, 429 if the queue is full, and, unless streamed, for answers that fail.
    pub async fn respond<D: Dialect>(self, app: &Arc<App>, mut dialect: D) -> Result<Response, ApiError> {
        let stream = self.stream;
        let response = async {
            let answers = self.start(app, &mut dialect).await?;
            if stream { Ok(streamed(dialect, answers)) } else { collected(dialect, answers).await }
        };
        response.await.map_err(|error: ApiError| error.renamed(D::FIELDS))
    }

    async fn start(self, app: &Arc<App>, dialect: &mut impl Dialect) -> Result<Answers, ApiError> {
        let Self { model, prompts, count, tools, form, request, .. } = self;
        if model.engine.network().head().is_none() {
            return Err(ApiError::no_head(model.name()));
        }
        // Before anything that takes long, so that a full queue costs nothing.
        let in_flight = app.metrics.enter(app.settings.queue, prompts.len() * count)?;
        let tools = Arc::new(tools);
        let limit = (!request.truncate).then(|| model.engine.context());
        let prompts = prompts.encode(&model, &tools, limit).await?;
        let (mut scores, mut usages) = (Vec::new(), Vec::new());
        if let Some(alternatives) = dialect.scores() {
            let each = prompts.iter().zip(in_flight.chunks(count));
            let each = each.map(|(prompt, in_flight)| score(app, &model, &in_flight[0], prompt, alternatives));
            (scores, usages) = try_join_all(each).await?.into_iter().unzip();
        }
        dialect.prompts(&prompts, scores)?;
        if request.max_tokens == Some(0) && !usages.is_empty() {
            return Ok(Answers::without_tokens(&usages, count));
        }
        let request = request.grammar(model.grammar(form, &tools).await?);
        let mut turns = Vec::new();
        let mut in_flight = in_flight.into_iter();
        for prompt in prompts {
            for (i, in_flight) in (0..).zip(in_flight.by_ref().take(count)) {
                let mut request = request.clone().prompt(prompt.clone());
                request.sampling.seed = request.sampling.seed.wrapping_add(i);
                turns.push(Turn::start(app, model.clone(), in_flight, request, tools.clone())?);
            }
        }
        Ok(Answers::new(turns, count))
    }
}

/// The log-probabilities of all tokens of a prompt but the first, and the token counts.
async fn score(
    app: &App,
    model: &Arc<Model>,
    in_flight: &Arc<InFlight>,
    prompt: &[u32],
    alternatives: usize,
) -> Result<(Vec<TokenLogprobs>, Usage), ApiError> {
    let mut job = Job::start(model.clone(), app.limits(), in_flight.clone(), Score::new(prompt))?;
    let mut scores = Vec::new();
    while let Some(event) = job.next().await {
        match event? {
            Event::Hidden { first, rows } => {
                let next: Vec<u32> = prompt[first + 1..].iter().take(rows.len()).copied().collect();
                let logprobs = move |model: &Model| Ok(model.engine.logprobs(&rows, &next, alternatives)?);
                scores.extend(model.run_blocking(logprobs).await?);
            }
            Event::Finished { usage, .. } => return Ok((scores, usage)),
            // Events of other work than scoring.
            _ => {}
        }
    }
    Err(sterna::Error::EngineStopped.into())
}

/// The answers of a request while they are generated, in any order. Dropping it cancels them.
struct Answers {
    deltas: SelectAll<BoxStream<'static, (usize, Result<Delta, ApiError>)>>,
    /// Answers for each prompt.
    count: usize,
    len: usize,
    usage: TokenCounts,
}

impl Answers {
    fn new(turns: Vec<Turn>, count: usize) -> Self {
        let deltas = turns.into_iter().enumerate().map(|(index, turn)| {
            stream::unfold(turn, move |mut turn| async move { Some(((index, turn.next().await?), turn)) }).boxed()
        });
        Self::of(deltas.collect(), count)
    }

    /// Answers of no tokens, after prompts of these token counts.
    fn without_tokens(usages: &[Usage], count: usize) -> Self {
        let ends = usages.iter().flat_map(|usage| std::iter::repeat_n(*usage, count)).enumerate();
        let end = |usage| Delta::End(End { reason: FinishReason::Length, stop: None, called: false, usage });
        Self::of(ends.map(|(index, usage)| stream::iter([(index, Ok(end(usage)))]).boxed()).collect(), count)
    }

    fn of(deltas: Vec<BoxStream<'static, (usize, Result<Delta, ApiError>)>>, count: usize) -> Self {
        Self { len: deltas.len(), deltas: stream::select_all(deltas), count, usage: TokenCounts::default() }
    }

    /// The next piece of any answer; `None` after the end of all.
    async fn next(&mut self) -> Option<Result<(usize, Delta), ApiError>> {
        let (index, delta) = self.deltas.next().await?;
        if let Ok(Delta::End(End { usage, .. })) = &delta {
            self.usage.add(usage, index.is_multiple_of(self.count));
        }
        Some(delta.map(|delta| (index, delta)))
    }
}

/// The answers as a stream. After an error nothing follows, and the other answers are cancelled.
fn streamed<D: Dialect>(mut dialect: D, answers: Answers) -> Response {
    let opening = dialect.opening();
    let rest = stream::unfold(Some((dialect, answers)), |running| async {
        let (mut dialect, mut answers) = running?;
        let objects = match answers.next().await {
            Some(Ok((index, delta))) => catch_unwind(AssertUnwindSafe(|| dialect.delta(index, delta))),
            Some(Err(error)) => return Some((vec![dialect.error(&error.renamed(D::FIELDS))], None)),
            None => return Some((dialect.closing(answers.usage).into_iter().collect(), None)),
        };
        match objects {
            Ok(objects) => Some((objects, Some((dialect, answers)))),
            Err(_) => Some((vec![dialect.error(&ApiError::internal())], None)),
        }
    });
    D::FRAMING.response(stream::iter(opening).chain(rest.flat_map(stream::iter)))
}

/// The answers in one body, once all are finished.
async fn collected(mut dialect: impl Dialect, mut answers: Answers) -> Result<Response, ApiError> {
    let mut finished: Vec<(Answer, Option<End>)> = (0..answers.len).map(|_| Default::default()).collect();
    while let Some(delta) = answers.next().await {
        let (index, delta) = delta?;
        let (answer, end) = &mut finished[index];
        match delta {
            Delta::Text { text, logprobs } => answer.push(text, logprobs),
            Delta::Call(call) => answer.parts.push(Part::Call(call)),
            Delta::End(last) => *end = Some(last),
        }
    }
    let finished = finished.into_iter().filter_map(|(answer, end)| Some((answer, end?)));
    Ok(Json(dialect.body(finished.collect(), answers.usage)).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    struct Panics;

    impl Dialect for Panics {
        const FRAMING: Framing = Framing::Events;
        const FIELDS: &[(&str, &str)] = &[];

        fn delta(&mut self, _: usize, _: Delta) -> Vec<Value> {
            panic!("on purpose")
        }

        fn body(&mut self, _: Vec<(Answer, End)>, _: TokenCounts) -> Value {
            Value::Null
        }
    }

    #[tokio::test]
    async fn a_panic_while_a_stream_is_written_ends_it_with_an_error() {
        let text = || Delta::Text { text: "x".into(), logprobs: None };
        let deltas = stream::select_all([stream::iter([(0, Ok(text())), (0, Ok(text()))]).boxed()]);
        let answers = Answers { deltas, count: 1, len: 1, usage: TokenCounts::default() };
        let body = to_bytes(streamed(Panics, answers).into_body(), usize::MAX).await.expect("a body");
        assert_eq!(body, format!("data: {}\n\ndata: [DONE]\n\n", ApiError::internal().json()));
    }
}
