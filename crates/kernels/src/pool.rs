//! A persistent thread pool for jobs of a few microseconds.
//!
//! A job is a closure that is called once for each chunk. The caller publishes it, runs chunks itself, and at the end
//! waits only for workers that *joined*. So a worker that the operating system has descheduled costs nothing, and
//! latency stays low when other programs use the cores.
//!
//! ```text
//! state: u64 = | generation : 32 | open : 1 | joined : 31 |
//! caller   publish job, open, run chunks … cursor empty, close, wait until finished == joined
//! worker   see a new open generation, joined += 1 (compare-exchange), run chunks, finished += 1
//! ```

use std::cell::UnsafeCell;
use std::sync::atomic::Ordering::*;

// `make loom` runs the pool in loom's model of memory and threads (`tests/pool_loom.rs`).
#[cfg(loom)]
use loom::{
    hint,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize},
    sync::{Arc, Mutex},
    thread,
    thread::{JoinHandle, Thread},
};
#[cfg(not(loom))]
use std::{
    hint,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize},
    sync::{Arc, Mutex},
    thread,
    thread::{JoinHandle, Thread},
};

const OPEN: u64 = 1 << 31;
const JOINED: u64 = OPEN - 1;
/// How often a worker polls for the next job before it sleeps: about 50 µs. This is longer than the gap between two
/// jobs of a forward pass, and too short to matter for a battery.
const SPINS: u32 = if cfg!(loom) { 1 } else { 2_000 };

type Job = *const (dyn Fn(usize) + Sync);

struct Shared {
    state: AtomicU64,
    cursor: AtomicUsize,
    chunks: AtomicUsize,
    finished: AtomicU64,
    panicked: AtomicBool,
    stop: AtomicBool,
    sleepers: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
}

// SAFETY: `job` is written only by the caller while the state is closed, and read only by workers that joined an
// open state; the closure it points to is `Sync` and outlives the job because `run` waits for every joined worker.
unsafe impl Sync for Shared {}
// SAFETY: `job` points to a closure of the caller that is `Sync`; it is read only inside an open job, which `run` does
// not outlive.
unsafe impl Send for Shared {}

/// Threads that run the chunks of one job at a time.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<(Thread, Option<JoinHandle<()>>)>,
    /// Jobs run one after another, even when several threads own the pool.
    turn: Mutex<()>,
}

/// Default number of threads: the CPUs this process may run on, limited by cgroup quotas.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

impl Pool {
    /// A pool of `threads` threads in total; the caller of [`Pool::run`] is one of them.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            cursor: AtomicUsize::new(0),
            chunks: AtomicUsize::new(0),
            finished: AtomicU64::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
        });
        let workers = (1..threads.max(1))
            .filter_map(|i| {
                let shared = shared.clone();
                // If the machine refuses a thread, the pool works with fewer.
                thread::Builder::new().name(format!("sterna-{i}")).spawn(move || work(&shared)).ok()
            })
            .map(|handle| (handle.thread().clone(), Some(handle)))
            .collect();
        Self { shared, workers, turn: Mutex::new(()) }
    }

    /// Number of threads that run a job, including the caller.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job(chunk)` once for every `chunk` in `0..chunks`, on any thread and in any order. Returns when all are
    /// done.
    ///
    /// A job must not call `run` on the same pool.
    ///
    /// # Panics
    /// If the job panics on any thread.
    pub fn run(&self, chunks: usize, job: impl Fn(usize) + Sync) {
        if self.workers.is_empty() || chunks <= 1 {
            (0..chunks).for_each(job);
            return;
        }
        let _turn = self.turn.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let shared = &*self.shared;
        let job: &(dyn Fn(usize) + Sync) = &job;
        // SAFETY: the state is closed, so no worker reads `job`. The lifetime is erased here; `Close` below waits,
        // also while unwinding, until no worker can call it any more.
        unsafe { *shared.job.get() = Some(std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Job>(job)) };
        shared.cursor.store(0, Relaxed);
        shared.chunks.store(chunks, Relaxed);
        shared.finished.store(0, Relaxed);
        shared.panicked.store(false, Relaxed);
        let generation = (shared.state.load(Relaxed) >> 32).wrapping_add(1);
        shared.state.store(generation << 32 | OPEN, SeqCst);
        if shared.sleepers.load(SeqCst) > 0 {
            self.workers.iter().for_each(|(thread, _)| thread.unpark());
        }
        let close = Close(shared);
        take_chunks(shared, job);
        drop(close);
        assert!(!shared.panicked.load(Acquire), "a worker thread of the pool panicked");
    }

    /// Splits `data` into pieces of `len` (the last may be shorter) and calls `job(index, piece)` for each.
    ///
    /// # Panics
    /// If the job panics on any thread.
    pub fn pieces<T: Send>(&self, data: &mut [T], len: usize, job: impl Fn(usize, &mut [T]) + Sync) {
        let (total, len) = (data.len(), len.max(1));
        let base = SendPtr(data.as_mut_ptr());
        self.run(total.div_ceil(len), |i| {
            let start = i * len;
            // SAFETY: the pieces are disjoint ranges of `data`, and each index is used once.
            let piece = unsafe { std::slice::from_raw_parts_mut(base.get().add(start), len.min(total - start)) };
            job(i, piece);
        });
    }
}

/// A pointer that is shared between threads. Its users must prove that they access disjoint places.
pub(crate) struct SendPtr<T>(pub *mut T);
impl<T> Clone for SendPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SendPtr<T> {}
// SAFETY: sending the pointer accesses nothing; each access through it is unsafe and proves that it is disjoint.
unsafe impl<T: Send> Send for SendPtr<T> {}
// SAFETY: sharing the pointer accesses nothing; each access through it is unsafe and proves that it is disjoint.
unsafe impl<T: Send> Sync for SendPtr<T> {}
impl<T> SendPtr<T> {
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

/// Ends the job when dropped: prevents workers from joining, and waits for those that have joined.
struct Close<'a>(&'a Shared);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        // After a panic in a chunk of the caller, the remaining chunks are skipped.
        if std::thread::panicking() {
            self.0.cursor.store(usize::MAX / 2, Relaxed);
        }
        let joined = self.0.state.fetch_and(!OPEN, AcqRel) & JOINED;
        let mut spins = 0u32;
        while self.0.finished.load(Acquire) != joined {
            spins += 1;
            if cfg!(loom) || spins.is_multiple_of(256) { thread::yield_now() } else { hint::spin_loop() }
        }
    }
}

fn take_chunks(shared: &Shared, job: &(dyn Fn(usize) + Sync)) {
    let chunks = shared.chunks.load(Relaxed);
    loop {
        let chunk = shared.cursor.fetch_add(1, Relaxed);
        if chunk >= chunks {
            return;
        }
        job(chunk);
    }
}

fn work(shared: &Shared) {
    let mut seen = 0;
    loop {
        let Some(state) = next_job(shared, seen) else { return };
        seen = state >> 32;
        if shared.state.compare_exchange(state, state + 1, AcqRel, Relaxed).is_err() {
            // The job was closed, or another worker joined at the same time: check the same generation again.
            seen = seen.wrapping_sub(1);
            continue;
        }
        // SAFETY: this worker joined an open job, so the pointer is set, and it stays valid until `finished` is counted
        // below.
        let job = unsafe { &*(*shared.job.get()).expect("an open job is set") };
        if let Err(payload) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| take_chunks(shared, job))) {
            shared.panicked.store(true, Release);
            // Not dropped: the payload's drop might panic, and then the caller would wait for this worker for ever.
            std::mem::forget(payload);
        }
        shared.finished.fetch_add(1, Release);
    }
}

/// Waits for an open job of a generation other than `seen`. `None` when the pool is dropped.
fn next_job(shared: &Shared, seen: u64) -> Option<u64> {
    let ready = || {
        let state = shared.state.load(Acquire);
        (state & OPEN != 0 && state >> 32 != seen).then_some(state)
    };
    loop {
        for spin in 0..SPINS {
            if let Some(state) = ready() {
                return Some(state);
            }
            if shared.stop.load(Relaxed) {
                return None;
            }
            if cfg!(loom) || spin % 64 == 63 { thread::yield_now() } else { hint::spin_loop() }
        }
        shared.sleepers.fetch_add(1, SeqCst);
        // Checked again after registering as a sleeper: either the caller sees the sleeper and wakes it, or the sleeper
        // sees the job. `park` returns at once if the wake-up came first.
        if shared.state.load(SeqCst) & OPEN == 0 && !shared.stop.load(SeqCst) {
            thread::park();
        }
        shared.sleepers.fetch_sub(1, SeqCst);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for (thread, handle) in &mut self.workers {
            thread.unpark();
            if let Some(handle) = handle.take() {
                let _ = handle.join();
            }
        }
    }
}
