//! Health of an engine: whether it serves, and how often it restarted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// The state of an engine ([`Engine::health`](super::Engine::health)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether requests are served. `false` during a restart, and permanently after the engine stopped.
    pub up: bool,
    /// Number of restarts after a panic in a forward pass.
    pub restarts: u64,
    /// Requests that failed with [`Error::EngineFailed`](crate::Error::EngineFailed) because of these panics.
    pub failed_requests: u64,
}

/// Counters written by the engine thread and read by callers.
#[derive(Default)]
pub(super) struct Counters {
    up: AtomicBool,
    restarts: AtomicU64,
    failed_requests: AtomicU64,
}

impl Counters {
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Relaxed);
    }

    /// Counts a restart after a panic that ended `requests` running requests.
    pub fn restarted(&self, requests: usize) {
        self.restarts.fetch_add(1, Relaxed);
        self.failed_requests.fetch_add(requests as u64, Relaxed);
    }

    pub fn health(&self) -> Health {
        Health {
            up: self.up.load(Relaxed),
            restarts: self.restarts.load(Relaxed),
            failed_requests: self.failed_requests.load(Relaxed),
        }
    }
}
