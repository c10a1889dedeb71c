//! The state that all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sterna::engine::{Engine, Sampling};
use tokio::sync::watch;

use crate::error::ApiError;
use crate::job::Limits;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::unknown::UnknownFields;
use crate::{Error, Settings};

/// The served model, the settings and the metrics.
pub struct App {
    pub model: Arc<Model>,
    pub settings: Settings,
    pub metrics: Metrics,
    pub unknown: UnknownFields,
    /// Unix time of the start in seconds; clients see it as the time the model was created.
    pub started: u64,
    /// Whether all answers must end, since the grace period of a shutdown is over.
    pub ended: watch::Sender<bool>,
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
        let model = Arc::new(Model::new(settings.model.clone(), engine)?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let counter = AtomicU64::new(now.as_nanos() as u64);
        let app = Self {
            model,
            settings,
            metrics: Metrics::new(),
            unknown: UnknownFields::default(),
            started: now.as_secs(),
            ended: watch::Sender::new(false),
            counter,
        };
        Ok(Arc::new(app))
    }

    /// A number that no other request of this server has.
    pub fn unique(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// The limits of a new job.
    pub fn limits(&self) -> Limits {
        Limits { timeout: self.settings.timeout, shut_down: self.ended.subscribe() }
    }

    /// An id like OpenAI's: `chatcmpl-1a2b…`.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}-{:016x}", self.unique().wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The model that a request names, or the served one if it names none (an empty name is none).
    ///
    /// # Errors
    /// 404 for another model.
    pub async fn model(&self, name: Option<&str>) -> Result<Arc<Model>, ApiError> {
        let served = &self.model.name;
        match name.filter(|name| !name.is_empty()) {
            Some(name) if name != served && name.strip_suffix(":latest") != Some(served) => {
                Err(ApiError::model(name, served))
            }
            _ => Ok(self.model.clone()),
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
