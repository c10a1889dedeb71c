//! From texts to their embeddings: written once, for OpenAI's API and Ollama's.
//!
//! ```text
//! endpoint ──Embedding──► queue ─► encode ─► a Job for each text, some at a time ─► Embeddings
//! ```

use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use schemars::JsonSchema;
use serde::Deserialize;
use sterna::engine::{Embed, Event};

use crate::app::App;
use crate::error::ApiError;
use crate::job::Job;
use crate::metrics::InFlight;
use crate::model::Model;

/// The most texts of a request, as in OpenAI's API.
const MAX_TEXTS: usize = 2048;
/// Texts of a request that are with the engine at the same time. Other requests come between them.
const AT_ONCE: usize = 32;

/// One text or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Input {
    /// One text.
    Text(String),
    /// The token ids of one text, which are taken as given.
    Tokens(Vec<u32>),
    /// Several texts.
    Texts(Vec<String>),
    /// The token ids of several texts.
    TokenLists(Vec<Vec<u32>>),
}

impl Input {
    fn len(&self) -> usize {
        match self {
            Self::Text(_) => 1,
            Self::Tokens(tokens) => usize::from(!tokens.is_empty()),
            Self::Texts(texts) => texts.len(),
            Self::TokenLists(lists) => lists.len(),
        }
    }

    /// Whether there is no text.
    pub fn is_nothing(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            _ => self.len() == 0,
        }
    }

    /// The field's name with the place of a text in its list.
    fn place(&self, field: &str, at: usize) -> String {
        match self {
            Self::Text(_) | Self::Tokens(_) => field.into(),
            Self::Texts(_) | Self::TokenLists(_) => format!("{field}[{at}]"),
        }
    }
}

/// What a request asks the model to embed.
pub struct Embedding {
    pub model: Arc<Model>,
    pub input: Input,
    /// What the API calls `input`.
    pub field: &'static str,
    /// Numbers of each vector; `None`: all that the model has.
    pub dimensions: Option<usize>,
    /// Whether a text that is too long is cut at its end. Otherwise it is an error.
    pub truncate: bool,
}

/// The embeddings of the texts of a request, in their order; each has length 1.
pub struct Embeddings {
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub tokens: usize,
}

impl Embedding {
    /// Computes the embeddings.
    ///
    /// # Errors
    /// 400 for texts that the model cannot embed, 429 if the queue is full, 504 if it takes too long.
    pub async fn compute(self, app: &App) -> Result<Embeddings, ApiError> {
        let texts = self.input.len();
        if texts == 0 || texts > MAX_TEXTS {
            let message = format!("{} has {texts} texts; it must be 1 to {MAX_TEXTS}", self.field);
            return Err(ApiError::field(self.field, message));
        }
        let Self { model, field, dimensions, .. } = &self;
        let (model, field, dimensions) = (model.clone(), *field, *dimensions);
        // Before anything that takes long, so that a full queue costs nothing. A request counts as one answer.
        let in_flight = app.metrics.enter(app.settings.queue, 1)?.swap_remove(0);
        let all = async {
            let texts = model.run_blocking(move |model| self.encode(model)).await?;
            let work = texts.into_iter().map(|(place, tokens)| {
                let embed = Embed::new(tokens).dimensions(dimensions).normalized();
                one(app, model.clone(), in_flight.clone(), embed, place)
            });
            let vectors: Vec<(Vec<f32>, usize)> = stream::iter(work).buffered(AT_ONCE).try_collect().await?;
            let tokens = vectors.iter().map(|(_, tokens)| tokens).sum();
            Ok(Embeddings { vectors: vectors.into_iter().map(|(vector, _)| vector).collect(), tokens })
        };
        let timeout = app.settings.timeout;
        let all = tokio::time::timeout(timeout, all).await;
        let result = all.unwrap_or_else(|_| Err(ApiError::timeout(timeout.as_secs())));
        result
            .inspect_err(|error: &ApiError| in_flight.failed(error.status))
            .map_err(|error| error.renamed(&[("tokens", field)]))
    }

    /// The place and the token ids of each text.
    fn encode(self, model: &Model) -> Result<Vec<(String, Vec<u32>)>, ApiError> {
        let text = |text: &String| Ok(model.engine.embedding_tokens(text)?);
        let places: Vec<_> = (0..self.input.len()).map(|at| self.input.place(self.field, at)).collect();
        let empty = match &self.input {
            Input::Texts(texts) => texts.iter().position(String::is_empty),
            Input::Text(text) => text.is_empty().then_some(0),
            Input::Tokens(_) | Input::TokenLists(_) => None,
        };
        if let Some(at) = empty {
            let place = &places[at];
            return Err(ApiError::field(place.clone(), format!("{place} is empty; leave it out")));
        }
        let tokens: Vec<Vec<u32>> = match &self.input {
            Input::Text(one) => vec![text(one)?],
            Input::Texts(texts) => texts.iter().map(text).collect::<Result<_, ApiError>>()?,
            Input::Tokens(tokens) => vec![tokens.clone()],
            Input::TokenLists(lists) => lists.clone(),
        };
        let fit = |(place, tokens)| self.fit(model.engine.context(), place, tokens);
        places.into_iter().zip(tokens).map(fit).collect()
    }

    /// A text that fits into the context: cut, if that is asked for. Its last token stays, which may be EOS.
    fn fit(&self, context: usize, place: String, mut tokens: Vec<u32>) -> Result<(String, Vec<u32>), ApiError> {
        let len = tokens.len();
        if len > context && !self.truncate {
            let message =
                format!("{place} has {len} tokens, but this server's context holds {context}; split the text");
            return Err(ApiError { code: Some("context_length_exceeded"), ..ApiError::field(place, message) });
        }
        if len > context {
            tokens.drain(context - 1..len - 1);
        }
        Ok((place, tokens))
    }
}

/// The embedding of one text, and its number of tokens.
async fn one(
    app: &App,
    model: Arc<Model>,
    in_flight: Arc<InFlight>,
    embed: Embed,
    place: String,
) -> Result<(Vec<f32>, usize), ApiError> {
    let job = Job::start(model, app.limits(), in_flight, embed);
    let mut job = job.map_err(|error| match error.param.as_deref() {
        Some("tokens") => ApiError { message: format!("{place}: {}", error.message), param: Some(place), ..error },
        _ => error,
    })?;
    let mut vector = Vec::new();
    while let Some(event) = job.next().await {
        match event? {
            Event::Embedding(values) => vector = values,
            Event::Finished { usage, .. } => return Ok((vector, usage.prompt_tokens)),
            // Events of other work than embedding.
            _ => {}
        }
    }
    Err(sterna::Error::EngineStopped.into())
}
