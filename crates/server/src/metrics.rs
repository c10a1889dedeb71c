//! Metrics for Prometheus, and the queue limit that rests on them.
//!
//! ```text
//! enter ──► waiting ──first token──► writing ──► ended
//!              └────────── dropped ───────────────┘
//! ```
//! The engine's thread moves an answer from one state to the next, so the counts do not depend on when a client reads.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use sterna::engine::Event;

use crate::Settings;
use crate::error::ApiError;
use crate::process::Process;
use crate::residents::Residents;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    /// "finished", "failed", "late", "cancelled" or "refused".
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Name {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpResponse {
    /// The path of the route, never that of the request; "other" if there is no route.
    endpoint: String,
    /// The first digit of the status: "2xx".
    class: &'static str,
}

/// The metrics of a server, shared by all its requests.
pub struct Metrics {
    registry: Registry,
    counts: Arc<Counts>,
    responses: Family<HttpResponse, Counter>,
    process: Process,
}

struct Counts {
    answers: Family<Outcome, Counter>,
    waiting: Gauge,
    writing: Gauge,
    prompt_tokens: Counter,
    cached_tokens: Counter,
    tokens: Counter,
    time_to_first_token: Histogram,
    time_to_next_token: Histogram,
    answer_time: Histogram,
    engine_up: Gauge,
    engine_restarts: Counter,
    loaded: Family<Name, Gauge>,
}

impl Metrics {
    /// The metrics of a server that starts now.
    pub fn new(settings: &Settings) -> Self {
        let counts = Counts {
            answers: Family::default(),
            waiting: Gauge::default(),
            writing: Gauge::default(),
            prompt_tokens: Counter::default(),
            cached_tokens: Counter::default(),
            tokens: Counter::default(),
            time_to_first_token: Histogram::new(exponential_buckets(0.005, 2.0, 16)),
            time_to_next_token: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            answer_time: Histogram::new(exponential_buckets(0.05, 2.0, 14)),
            engine_up: Gauge::default(),
            engine_restarts: Counter::default(),
            loaded: Family::default(),
        };
        let mut all = Registry::default();
        let process = Process::register(&mut all);
        let registry = all.sub_registry_with_prefix("sterna");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("commit", settings.commit)].to_vec());
        registry.register("build", "Version and commit of the program", build);
        let responses = Family::default();
        registry.register("http_responses", "Responses, by route and class of status", responses.clone());
        let limit: Gauge = Gauge::default();
        limit.set(i64::try_from(settings.queue).unwrap_or(i64::MAX));
        registry.register("queue_limit", "Answers that may wait for their first token", limit);
        registry.register("answers", "Answers that ended, by outcome", counts.answers.clone());
        registry.register("waiting", "Answers that wait for their first token", counts.waiting.clone());
        registry.register("writing", "Answers that are being generated", counts.writing.clone());
        registry.register("prompt_tokens", "Prompt tokens of finished answers", counts.prompt_tokens.clone());
        registry.register(
            "cached_tokens",
            "Prompt tokens that came from the prefix cache",
            counts.cached_tokens.clone(),
        );
        registry.register("generated_tokens", "Generated tokens", counts.tokens.clone());
        registry.register(
            "engine_up",
            "1 while the engines of all loaded models serve requests, otherwise 0",
            counts.engine_up.clone(),
        );
        registry.register("engine_restarts", "Restarts of the engine after a panic", counts.engine_restarts.clone());
        registry.register("model_loaded", "1 for each model in memory", counts.loaded.clone());
        let mut time = |name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        time("time_to_first_token", "Time from the request to the first token", &counts.time_to_first_token);
        time("time_to_next_token", "Time from one token to the next", &counts.time_to_next_token);
        time("answer_time", "Time from the request to the end of its answer", &counts.answer_time);
        Self { registry: all, counts: Arc::new(counts), responses, process }
    }

    /// Counts the response to a request for a route, or for no route.
    pub fn response(&self, endpoint: Option<&str>, status: StatusCode) {
        let class = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.responses.get_or_create(&HttpResponse { endpoint: endpoint.unwrap_or("other").to_owned(), class }).inc();
    }

    /// Admits a request of `answers` answers, unless `queue` others wait.
    ///
    /// # Errors
    /// 429 if the queue is full.
    pub fn enter(&self, queue: usize, answers: usize) -> Result<Vec<Arc<InFlight>>, ApiError> {
        let counts = &self.counts;
        // Counted before the limit is checked: of two requests that come at once, each sees the other.
        let waiting = counts.waiting.inc_by(answers as i64);
        let since = Instant::now();
        let progress = || Mutex::new(Progress { last_token: None, outcome: "refused" });
        let new = |_| Arc::new(InFlight { counts: counts.clone(), since, progress: progress() });
        let entered = (0..answers).map(new).collect();
        if waiting >= i64::try_from(queue).unwrap_or(i64::MAX) { Err(ApiError::full()) } else { Ok(entered) }
    }

    /// Counts a request that waits for its model among those that wait for their first token.
    ///
    /// # Errors
    /// 503 if the queue is full.
    pub fn wait(&self, queue: usize) -> Result<Waiting, ApiError> {
        let before = self.counts.waiting.inc();
        let waiting = Waiting { counts: self.counts.clone() };
        if before >= i64::try_from(queue).unwrap_or(i64::MAX) {
            return Err(ApiError::unavailable("too many requests are waiting; the model can be loaded later"));
        }
        Ok(waiting)
    }

    /// Answers that are waiting or being generated.
    pub fn in_flight(&self) -> i64 {
        self.counts.waiting.get() + self.counts.writing.get()
    }

    /// Answers that wait for their first token.
    pub fn waiting(&self) -> i64 {
        self.counts.waiting.get()
    }

    /// All metrics in OpenMetrics' text format, with the state of the models in memory.
    pub fn text(&self, models: &Residents) -> String {
        self.process.update();
        let (up, restarts) = models.health();
        self.counts.engine_up.set(up.into());
        self.counts.engine_restarts.inner().store(restarts, Relaxed);
        self.counts.loaded.clear();
        for listed in models.listed() {
            self.counts.loaded.get_or_create(&Name { model: listed.description.name.clone() }).set(1);
        }
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// A request that waits for its model.
pub struct Waiting {
    counts: Arc<Counts>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.counts.waiting.dec();
    }
}

/// An answer in flight: waiting until its first token, then being generated until it is dropped.
pub struct InFlight {
    counts: Arc<Counts>,
    since: Instant,
    progress: Mutex<Progress>,
}

struct Progress {
    last_token: Option<Instant>,
    outcome: &'static str,
}

impl InFlight {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine has accepted the request. Unless it ends, it counts as cancelled.
    pub fn submitted(&self) {
        self.progress().outcome = "cancelled";
    }

    /// Counts an event of the engine. Called on the engine's thread.
    pub fn event(&self, event: &sterna::Result<Event>) {
        let mut progress = self.progress();
        match event {
            Ok(Event::Token { at, .. }) => {
                let at = at.unwrap_or_else(Instant::now);
                self.counts.tokens.inc();
                if let Some(before) = progress.last_token.replace(at) {
                    self.counts.time_to_next_token.observe((at - before).as_secs_f64());
                } else {
                    self.counts.waiting.dec();
                    self.counts.writing.inc();
                    let waited = at.saturating_duration_since(self.since);
                    self.counts.time_to_first_token.observe(waited.as_secs_f64());
                }
            }
            Ok(Event::Finished { usage, .. }) => {
                progress.outcome = "finished";
                self.counts.prompt_tokens.inc_by(usage.prompt_tokens as u64);
                self.counts.cached_tokens.inc_by(usage.cached_tokens as u64);
                self.counts.answer_time.observe(self.since.elapsed().as_secs_f64());
            }
            Ok(_) => {}
            Err(_) => progress.outcome = "failed",
        }
    }

    /// The answer ended with an error.
    pub fn failed(&self, status: StatusCode) {
        self.progress().outcome = if status == StatusCode::GATEWAY_TIMEOUT { "late" } else { "failed" };
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Progress { last_token, outcome } = *self.progress();
        if last_token.is_some() {
            self.counts.writing.dec()
        } else {
            self.counts.waiting.dec()
        };
        self.counts.answers.get_or_create(&Outcome { outcome }).inc();
    }
}
