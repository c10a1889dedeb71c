//! The thread pool runs every chunk exactly once, whatever the system's scheduling.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

use sterna_kernels::Pool;

#[test]
fn every_chunk_runs_exactly_once() {
    for threads in [1, 2, 3, 8] {
        let pool = Pool::new(threads);
        assert_eq!(pool.threads(), threads);
        for chunks in (0..40).chain([1_000, 10_007]) {
            let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            pool.run(chunks, |chunk| {
                counts[chunk].fetch_add(1, Relaxed);
            });
            assert!(counts.iter().all(|count| count.load(Relaxed) == 1), "{threads} threads, {chunks} chunks");
        }
    }
}

/// Thousands of tiny jobs back to back, with more threads than cores: workers join early, late or not at all.
#[test]
fn results_are_visible_after_each_of_many_small_jobs() {
    let pool = Pool::new(6);
    let mut data = vec![0usize; 64];
    for round in 1..5_000 {
        pool.pieces(&mut data, 5, |i, piece| {
            for (offset, value) in piece.iter_mut().enumerate() {
                *value += round * (5 * i + offset);
            }
        });
    }
    let rounds: usize = (1..5_000).sum();
    assert!(data.iter().enumerate().all(|(i, value)| *value == rounds * i), "{data:?}");
}

/// All threads take part: each waits inside the job until the others have arrived.
#[test]
fn all_threads_join() {
    let pool = Pool::new(4);
    assert_eq!(pool.threads(), 4, "the system refused a thread, and the barrier would wait for it");
    let barrier = Barrier::new(4);
    pool.run(4, |_| {
        barrier.wait();
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(3);
    for bad in [0, 7, 99] {
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(100, |chunk| assert_ne!(chunk, bad, "the job fails here"));
        }));
        assert!(result.is_err(), "chunk {bad}");
        let sum = AtomicUsize::new(0);
        pool.run(100, |chunk| {
            sum.fetch_add(chunk, Relaxed);
        });
        assert_eq!(sum.into_inner(), 4950);
    }
}

/// A panic payload that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload of a panic panics too");
    }
}

#[test]
fn a_payload_that_panics_when_dropped_does_not_stop_the_pool() {
    let pool = Pool::new(2);
    assert_eq!(pool.threads(), 2, "the system refused a thread, and the barrier would wait for it");
    let (barrier, caller) = (Barrier::new(2), std::thread::current().id());
    let result = catch_unwind(AssertUnwindSafe(|| {
        pool.run(2, |_| {
            barrier.wait();
            if std::thread::current().id() != caller {
                std::panic::panic_any(Bomb);
            }
        });
    }));
    assert!(result.is_err());
    let sum = AtomicUsize::new(0);
    pool.run(100, |chunk| {
        sum.fetch_add(chunk, Relaxed);
    });
    assert_eq!(sum.into_inner(), 4950);
}

#[test]
fn several_owners_take_turns() {
    let pool = Arc::new(Pool::new(2));
    let owners: Vec<_> = (0..4)
        .map(|owner| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                for _ in 0..300 {
                    let sum = AtomicUsize::new(0);
                    pool.run(50, |chunk| {
                        sum.fetch_add(chunk * owner, Relaxed);
                    });
                    assert_eq!(sum.into_inner(), 1225 * owner);
                }
            })
        })
        .collect();
    for owner in owners {
        owner.join().expect("the owner's sums are right");
    }
}
