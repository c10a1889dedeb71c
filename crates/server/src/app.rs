//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sterna::engine::{Engine, Grammar, Sampling};
use sterna_grammar::{Form, Grammars};

use crate::error::Refusal;
use crate::metrics::{Metrics, Place};
use crate::tools::Toolbox;
use crate::{Error, Settings};

/// The model, how it is served, and what was counted.
pub struct App {
    pub engine: Engine,
    pub grammars: Grammars,
    pub settings: Settings,
    pub metrics: Metrics,
    /// When the server started, in seconds of Unix time: its model's "created".
    pub started: u64,
    /// Makes ids of answers differ, and seeds of requests that name none.
    requests: AtomicU64,
}

impl App {
    pub fn new(engine: Engine, settings: Settings) -> Result<Arc<Self>, Error> {
        settings.check()?;
        let grammars = Grammars::new(&engine)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let requests = AtomicU64::new(now.as_nanos() as u64);
        let app = Self { engine, grammars, settings, metrics: Metrics::new(), started: now.as_secs(), requests };
        Ok(Arc::new(app))
    }

    /// A number that no other request of this server has.
    pub fn number(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// An id like OpenAI's: `chatcmpl-1a2b…`.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}-{:016x}", self.number().wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Lets an answer in, before anything that takes long is done for it; an error if the queue is full.
    pub fn enter(&self) -> Result<Place, Refusal> {
        self.metrics.enter(self.settings.queue)
    }

    /// Whether a request names the model that is here, or none.
    pub fn check_model(&self, name: Option<&str>) -> Result<(), Refusal> {
        let ours = &self.settings.model;
        match name {
            Some(name) if name != ours && name.strip_suffix(":latest") != Some(ours) => Err(Refusal::model(name, ours)),
            _ => Ok(()),
        }
    }

    /// Does what may take a while, as long texts do, beside the threads that serve.
    pub async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let app = self.clone();
        tokio::task::spawn_blocking(move || work(&app)).await.map_err(|_| Refusal::stopping())?
    }

    /// The grammar of an answer: that of the form it shall have, which `field` asks for, or of calls that are required.
    pub async fn grammar(
        self: &Arc<Self>,
        form: Option<Form>,
        tools: &Toolbox,
        field: &str,
    ) -> Result<Option<Arc<dyn Grammar>>, Refusal> {
        let form = match form {
            Some(_) if !tools.is_empty() => {
                return Err(Refusal::unsupported(field, "together with tools: leave one of them out"));
            }
            None if tools.required => Form::Lark(tools.lark()),
            None => return Ok(None),
            Some(form) => form,
        };
        self.aside(move |app| Ok(Some(app.grammars.compile(&form)?))).await
    }

    /// What a token writes; nothing if it is special.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        self.engine.tokenizer().ok()?.token_bytes(id)
    }

    /// The same as text, with U+FFFD for a part of a character; a special token's name.
    pub fn token_text(&self, id: u32) -> String {
        match self.token_bytes(id) {
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            None => self.engine.tokenizer().ok().and_then(|tokenizer| tokenizer.token(id)).unwrap_or_default(),
        }
    }

    /// How tokens are drawn unless a request says otherwise: OpenAI's defaults, but of the 40 likeliest tokens. Small models
    /// need that, and the head then reads few of its rows.
    pub fn sampling(&self) -> Sampling {
        Sampling { temperature: 1.0, top_k: 40, seed: self.number(), ..Sampling::default() }
    }
}

/// Seconds of Unix time.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
