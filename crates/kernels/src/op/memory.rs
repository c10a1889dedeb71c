//! Prefetching, and reading memory at full bandwidth.

use super::vector::Vector;
use crate::lines::LINE;

/// Prefetches all cache lines of `bytes`.
#[inline(always)]
pub(crate) fn prefetch<V: Vector>(zeros: V, bytes: &[u8]) {
    for line in bytes.chunks(LINE) {
        zeros.prefetch(line, 0);
    }
}

/// Reads whole lines in 1, 2, 4 or 8 parallel streams. Each stream prefetches the line `ahead` bytes further on (0: no
/// prefetch). The result depends on every byte, so the compiler cannot remove a read.
#[inline(always)]
pub(crate) fn read<V: Vector>(zeros: V, bytes: &[u8], streams: usize, ahead: usize) -> u64 {
    match streams {
        8.. => pass::<V, 8>(zeros, bytes, ahead),
        4.. => pass::<V, 4>(zeros, bytes, ahead),
        2.. => pass::<V, 2>(zeros, bytes, ahead),
        _ => pass::<V, 1>(zeros, bytes, ahead),
    }
}

#[inline(always)]
fn pass<V: Vector, const S: usize>(zeros: V, bytes: &[u8], ahead: usize) -> u64 {
    let part = bytes.len() / S / LINE * LINE;
    let mut sums = [[0u64; LINE / 8]; S];
    for at in (0..part).step_by(LINE) {
        for (s, sums) in sums.iter_mut().enumerate() {
            let line = &bytes[s * part + at..][..LINE];
            if ahead > 0 {
                zeros.prefetch(line, ahead);
            }
            for (sum, bytes) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
                *sum ^= u64::from_le_bytes(*bytes);
            }
        }
    }
    sums.iter().flatten().fold(0, |a, b| a ^ b)
}
