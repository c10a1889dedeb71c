//! The pool under every interleaving that loom's memory model allows (`make loom`).
#![cfg(loom)]

use sterna_kernels::Pool;

/// Two jobs in a row: each chunk runs once, its writes are visible afterwards, no worker is left asleep, and the pool
/// shuts down.
#[test]
fn two_jobs_in_turn() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let pool = Pool::new(2);
        let mut data = [0usize; 2];
        for round in 1..=2 {
            pool.pieces(&mut data, 1, |i, piece| piece[0] += round * (i + 1));
        }
        assert_eq!(data, [3, 6]);
    });
}
