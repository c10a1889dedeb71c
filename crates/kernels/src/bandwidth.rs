//! How fast this machine reads memory: the limit that decoding runs against.

use std::hint::black_box;
use std::time::Instant;

use crate::lines::{LINE, Line, Lines};
use crate::memory::prefetch;
use crate::pool::Pool;

/// Bytes that one chunk of work reads.
const CHUNK: usize = 32 << 20;
/// How far ahead of the loads each stream is prefetched, in bytes.
const AHEAD: usize = 4096;

/// Read bandwidth in GB/s (10⁹ bytes) of all threads of `pool` together: the best of 5 passes for each of 1, 2, 4 and
/// 8 streams a thread, with and without software prefetch, over a buffer of `bytes` in huge pages (make it at least
/// 1 GiB, so that no cache holds it).
pub fn read(pool: &Pool, bytes: usize) -> f64 {
    let mut buffer = Lines::zeroed(bytes.next_multiple_of(CHUNK) / LINE);
    // Written once, so that every page is a page of its own.
    pool.pieces(&mut buffer, CHUNK / LINE, |i, piece| piece.fill(Line([i as u8 + 1; LINE])));
    let bytes = buffer.bytes();
    let mut best = f64::INFINITY;
    let passes: [fn(&[u8]) -> u64; 6] =
        [pass::<1, 0>, pass::<2, 0>, pass::<1, AHEAD>, pass::<2, AHEAD>, pass::<4, AHEAD>, pass::<8, AHEAD>];
    for pass in passes {
        for _ in 0..5 {
            let start = Instant::now();
            pool.run(bytes.len() / CHUNK, |i| {
                black_box(pass(&bytes[i * CHUNK..(i + 1) * CHUNK]));
            });
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    bytes.len() as f64 / best / 1e9
}

/// Reads a chunk as `S` streams side by side, each asking for what lies `A` bytes ahead.
fn pass<const S: usize, const A: usize>(chunk: &[u8]) -> u64 {
    let part = chunk.len() / S;
    let mut sums = [[0u64; LINE / 8]; S];
    for at in (0..part).step_by(LINE) {
        for (s, sums) in sums.iter_mut().enumerate() {
            let line = &chunk[s * part + at..][..LINE];
            if A > 0 {
                prefetch(line, A);
            }
            for (sum, bytes) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
                *sum ^= u64::from_le_bytes(*bytes);
            }
        }
    }
    sums.iter().flatten().fold(0, |a, b| a ^ b)
}
