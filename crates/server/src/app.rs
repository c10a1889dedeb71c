//! The state that all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use sterna::engine::Sampling;
use tokio::sync::watch;

use crate::catalog::Models;
use crate::error::ApiError;
use crate::job::Limits;
use crate::keep_alive::KeepAlive;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::residents::Residents;
use crate::unknown::UnknownFields;
use crate::{Error, Settings};

/// The models, the settings and the metrics.
pub struct App {
    pub models: Arc<Residents>,
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
    /// For settings that [`Settings::check`] refuses, and those of [`Residents::new`].
    pub fn new(models: Models, settings: Settings) -> Result<Arc<Self>, Error> {
        settings.check()?;
        let models = Residents::new(models, &settings)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let counter = AtomicU64::new(now.as_nanos() as u64);
        let app = Self {
            models,
            metrics: Metrics::new(&settings),
            settings,
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

    /// The model that a request names, loaded if it is not in memory. An empty name is none.
    ///
    /// # Errors
    /// 404 for a name that no model has, 400 for no name if there are several, 503 if the model must be loaded and the queue
    /// or the memory is full, 504 if that takes too long.
    pub async fn model(&self, name: Option<&str>) -> Result<Arc<Model>, ApiError> {
        self.model_for(name, None).await
    }

    /// The same; after the request the model stays in memory for `keep_alive`, if that is shorter than the server's setting.
    ///
    /// # Errors
    /// Those of [`App::model`].
    pub async fn model_for(&self, name: Option<&str>, keep_alive: Option<KeepAlive>) -> Result<Arc<Model>, ApiError> {
        let Settings { timeout, queue, .. } = self.settings;
        let mut ended = self.ended.subscribe();
        tokio::select! {
            biased;
            model = self.models.get(name, keep_alive, (&self.metrics, queue)) => model,
            () = tokio::time::sleep(timeout) => Err(ApiError::timeout(timeout.as_secs())),
            _ = ended.wait_for(|ended| *ended) => Err(ApiError::shut_down()),
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
