//! How fast this machine reads memory: the limit that decoding runs against.

use std::hint::black_box;
use std::time::Instant;

use crate::cpu::Cpu;
use crate::lines::{LINE, Line, Lines};

/// Bytes that one chunk of work reads.
const CHUNK: usize = 32 << 20;
/// How far ahead of the loads each stream is prefetched, in bytes.
const AHEAD: usize = 4096;

/// Read bandwidth in GB/s (10⁹ bytes) of all threads of `cpu` together: the best of 5 passes for each of 1, 2, 4 and
/// 8 streams a thread, with and without software prefetch, over a buffer of `bytes` in huge pages (make it at least
/// 1 GiB, so that no cache holds it).
pub fn read(cpu: &Cpu, bytes: usize) -> f64 {
    let mut buffer = Lines::zeroed(bytes.next_multiple_of(CHUNK) / LINE);
    // Written once, so that every page is a page of its own.
    cpu.pool.pieces(&mut buffer, CHUNK / LINE, |i, piece| piece.fill(Line([i as u8 + 1; LINE])));
    let bytes = buffer.bytes();
    let mut best = f64::INFINITY;
    for (streams, ahead) in [(1, 0), (2, 0), (1, AHEAD), (2, AHEAD), (4, AHEAD), (8, AHEAD)] {
        for _ in 0..5 {
            let start = Instant::now();
            cpu.pool.run(bytes.len() / CHUNK, |i| {
                black_box(cpu.isa.read(&bytes[i * CHUNK..(i + 1) * CHUNK], streams, ahead));
            });
            best = best.min(start.elapsed().as_secs_f64());
        }
    }
    bytes.len() as f64 / best / 1e9
}
