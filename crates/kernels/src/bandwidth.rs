//! Measures memory read bandwidth, which limits how fast tokens are decoded.

use std::hint::black_box;
use std::time::Instant;

use crate::cpu::Cpu;
use crate::lines::{LINE, Line, Lines};

/// Bytes read by one chunk of work.
const CHUNK: usize = 32 << 20;
/// Prefetch distance of each stream, in bytes.
const AHEAD: usize = 4096;

/// Read bandwidth of all threads of `cpu` together, in GB/s (10⁹ bytes). The result is the best of 5 passes for each of
/// 1, 2, 4 and 8 streams per thread, with and without software prefetch. The buffer of `bytes` lies in huge pages; make
/// it at least 1 GiB, so that no cache holds it.
pub fn read(cpu: &Cpu, bytes: usize) -> f64 {
    let mut buffer = Lines::zeroed(bytes.next_multiple_of(CHUNK) / LINE);
    // Every page is written once; unwritten pages would share one page of zeros.
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
