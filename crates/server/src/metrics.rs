//! What the server counts, for Prometheus.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use sterna::engine::Usage;

use crate::error::Refusal;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    /// "stop" and "length" are one: the answer was finished.
    outcome: &'static str,
}

/// Counters, shared by all requests.
pub struct Metrics {
    registry: Registry,
    counts: Arc<Counts>,
}

struct Counts {
    answers: Family<Outcome, Counter>,
    waiting: Gauge,
    writing: Gauge,
    prompt_tokens: Counter,
    cached_tokens: Counter,
    tokens: Counter,
    first_token: Histogram,
    next_token: Histogram,
    whole: Histogram,
}

impl Metrics {
    pub fn new() -> Self {
        let counts = Counts {
            answers: Family::default(),
            waiting: Gauge::default(),
            writing: Gauge::default(),
            prompt_tokens: Counter::default(),
            cached_tokens: Counter::default(),
            tokens: Counter::default(),
            first_token: Histogram::new(exponential_buckets(0.005, 2.0, 16)),
            next_token: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            whole: Histogram::new(exponential_buckets(0.05, 2.0, 14)),
        };
        let mut registry = Registry::with_prefix("sterna");
        registry.register("answers", "Answers that ended, by how", counts.answers.clone());
        registry.register("waiting", "Requests that wait for their first token", counts.waiting.clone());
        registry.register("writing", "Answers that are being written", counts.writing.clone());
        registry.register("prompt_tokens", "Tokens of prompts of finished answers", counts.prompt_tokens.clone());
        registry.register("cached_tokens", "Of these, the ones found in the cache", counts.cached_tokens.clone());
        registry.register("generated_tokens", "Tokens of answers", counts.tokens.clone());
        let mut time = |name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        time("time_to_first_token", "From the request to the first token", &counts.first_token);
        time("time_to_next_token", "From one token to the next", &counts.next_token);
        time("answer_time", "From the request to the end of its answer", &counts.whole);
        Self { registry, counts: Arc::new(counts) }
    }

    /// Lets a request in, unless `queue` others wait.
    pub fn enter(&self, queue: usize) -> Result<Place, Refusal> {
        let place = Place { counts: self.counts.clone(), since: Instant::now(), last: None, outcome: "refused" };
        // Counted before it is looked at: of two that come at once, both are seen.
        if place.counts.waiting.inc() >= i64::try_from(queue).unwrap_or(i64::MAX) {
            return Err(Refusal::full());
        }
        Ok(place)
    }

    /// Answers that are waited for or being written.
    pub fn busy(&self) -> i64 {
        self.counts.waiting.get() + self.counts.writing.get()
    }

    /// Requests that wait for their first token.
    pub fn waiting(&self) -> i64 {
        self.counts.waiting.get()
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    }
}

/// A request among the others, from its beginning to its end.
pub struct Place {
    counts: Arc<Counts>,
    since: Instant,
    /// When the last token came.
    last: Option<Instant>,
    outcome: &'static str,
}

impl Place {
    /// The engine has the request.
    pub fn begun(&mut self) {
        self.outcome = "cancelled";
    }

    pub fn token(&mut self, at: Instant) {
        self.counts.tokens.inc();
        match self.last.replace(at) {
            Some(before) => self.counts.next_token.observe((at - before).as_secs_f64()),
            None => {
                self.counts.waiting.dec();
                self.counts.writing.inc();
                self.counts.first_token.observe(at.saturating_duration_since(self.since).as_secs_f64());
            }
        }
    }

    pub fn finished(&mut self, usage: &Usage, at: Instant) {
        self.outcome = "finished";
        self.counts.prompt_tokens.inc_by(usage.prompt_tokens as u64);
        self.counts.cached_tokens.inc_by(usage.cached_tokens as u64);
        self.counts.whole.observe((at - self.since).as_secs_f64());
    }

    pub fn failed(&mut self, status: StatusCode) {
        self.outcome = if status == StatusCode::GATEWAY_TIMEOUT { "late" } else { "failed" };
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.last.is_some() {
            self.counts.writing.dec()
        } else {
            self.counts.waiting.dec()
        };
        self.counts.answers.get_or_create(&Outcome { outcome: self.outcome }).inc();
    }
}
