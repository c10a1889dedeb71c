//! The state that all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sterna::engine::{Engine, Grammar, Sampling};
use sterna_grammar::{Form, Grammars};

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::tools::Toolbox;
use crate::unknown::UnknownFields;
use crate::{Error, Settings};

/// The model, the settings and the metrics.
pub struct App {
    pub engine: Engine,
    pub grammars: Grammars,
    pub settings: Settings,
    pub metrics: Metrics,
    pub unknown: UnknownFields,
    /// Unix time of the start in seconds; clients see it as the time the model was created.
    pub started: u64,
    /// A counter that makes ids differ, and the seeds of requests without one.
    counter: AtomicU64,
}

impl App {
    /// The state of a new server.
    ///
    /// # Errors
    /// For settings that [`Settings::check`] refuses, and for models without a tokenizer.
    pub fn new(engine: Engine, settings: Settings) -> Result<Arc<Self>, Error> {
        settings.check()?;
        let grammars = Grammars::new(&engine)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let counter = AtomicU64::new(now.as_nanos() as u64);
        let app = Self {
            engine,
            grammars,
            settings,
            metrics: Metrics::new(),
            unknown: UnknownFields::default(),
            started: now.as_secs(),
            counter,
        };
        Ok(Arc::new(app))
    }

    /// A number that no other request of this server has.
    pub fn unique(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// An id like OpenAI's: `chatcmpl-1a2b…`.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}-{:016x}", self.unique().wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Checks that a request names the served model, or none (an empty name is none).
    ///
    /// # Errors
    /// 404 for another model.
    pub fn check_model(&self, name: Option<&str>) -> Result<(), ApiError> {
        let served = &self.settings.model;
        match name.filter(|name| !name.is_empty()) {
            Some(name) if name != served && name.strip_suffix(":latest") != Some(served) => {
                Err(ApiError::model(name, served))
            }
            _ => Ok(()),
        }
    }

    /// Runs work that may take long, such as encoding a long text, on a thread that serves no connections.
    ///
    /// # Errors
    /// Those of `work`; 500 if it panics.
    pub async fn run_blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let app = self.clone();
        tokio::task::spawn_blocking(move || work(&app)).await.map_err(|_| ApiError::internal())?
    }

    /// The grammar of an answer: that of `form`, or of the function calls that a request requires.
    ///
    /// # Errors
    /// 400 for a form that cannot be compiled, or that comes together with tools.
    pub async fn grammar(
        self: &Arc<Self>,
        form: Option<Form>,
        tools: &Toolbox,
    ) -> Result<Option<Arc<dyn Grammar>>, ApiError> {
        let form = match form {
            Some(_) if !tools.is_empty() => {
                return Err(ApiError::unsupported("grammar", "together with tools: leave one of them out"));
            }
            None if tools.required => Form::Lark(tools.lark()),
            None => return Ok(None),
            Some(form) => form,
        };
        self.run_blocking(move |app| Ok(Some(app.grammars.compile(&form)?))).await
    }

    /// The bytes of a token; `None` for a special token.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.engine.tokenizer().ok()?.token_bytes(id)
    }

    /// The text of a token, with U+FFFD for an incomplete character, or a special token's name.
    pub fn token_text(&self, id: u32) -> String {
        match self.token_bytes(id) {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => self.engine.tokenizer().ok().and_then(|tokenizer| tokenizer.token(id)).unwrap_or_default(),
        }
    }

    /// The sampling of requests that set none of its parameters: OpenAI's defaults, except for a top-k of 40. Small models
    /// write better with it, and the head then reads few of its rows.
    pub fn sampling(&self) -> Sampling {
        Sampling::default().temperature(1.0).top_k(40).seed(self.unique())
    }
}

/// Unix time in seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
