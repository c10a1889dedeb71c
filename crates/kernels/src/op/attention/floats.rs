//! Attention to a cache of f16 or f32 values: float dot products with one multiplication and one addition per step, in the order of
//! dims and of positions.

use std::ops::Range;

use super::{PAGE, SEGMENT, Segment};
use crate::lines::LINE;
use crate::op::softmax::softmax_terms;
use crate::op::vector::{LANES, Vector};

/// Prefetch distance in pages: 16 KiB of keys or values in f16.
const AHEAD: usize = 2;

/// The number type of the cache.
trait Number {
    /// Bytes of 16 values.
    const BLOCK: usize;

    /// Loads 16 values.
    fn load<V: Vector>(zeros: V, block: &[u8]) -> V;
}

struct Half;

impl Number for Half {
    const BLOCK: usize = 2 * LANES;

    #[inline(always)]
    fn load<V: Vector>(zeros: V, block: &[u8]) -> V {
        zeros.load_half(block)
    }
}

struct Float;

impl Number for Float {
    const BLOCK: usize = 4 * LANES;

    #[inline(always)]
    fn load<V: Vector>(zeros: V, block: &[u8]) -> V {
        zeros.load_f32(block)
    }
}

/// Attends to one segment of an f16 cache, for any number of queries; `q` and `out` hold `padded_dim` and
/// `padded_dim + 16` values per query.
#[inline(always)]
pub(crate) fn attend_halves<V: Vector>(zeros: V, segment: &Segment<'_>, q: &[f32], out: &mut [f32]) {
    attend::<V, Half>(zeros, segment, q, out);
}

/// [`attend_halves`] for an f32 cache.
#[inline(always)]
pub(crate) fn attend_floats<V: Vector>(zeros: V, segment: &Segment<'_>, q: &[f32], out: &mut [f32]) {
    attend::<V, Float>(zeros, segment, q, out);
}

#[inline(always)]
fn attend<V: Vector, N: Number>(zeros: V, segment: &Segment<'_>, q: &[f32], out: &mut [f32]) {
    let (dim, queries) = (segment.padded_dim, segment.seen.len());
    let mut at = 0;
    while at < queries {
        let (q, seen, out) = (&q[at * dim..], &segment.seen[at..], &mut out[at * (dim + LANES)..]);
        // Queries share converted keys; as many are taken together as there are registers for their sums.
        at += match queries - at {
            8.. if V::REGISTERS >= 32 => some::<V, N, 8, 2, 2>(zeros, segment, q, seen, out),
            4.. if V::REGISTERS >= 32 => some::<V, N, 4, 2, 4>(zeros, segment, q, seen, out),
            4.. => some::<V, N, 4, 1, 1>(zeros, segment, q, seen, out),
            _ => some::<V, N, 1, 2, 4>(zeros, segment, q, seen, out),
        };
    }
}

/// Attends for `H` queries, `T` tiles of keys and `B` blocks of 16 dims of values at a time. Returns `H`.
#[inline(always)]
fn some<V: Vector, N: Number, const H: usize, const T: usize, const B: usize>(
    zeros: V,
    segment: &Segment<'_>,
    q: &[f32],
    seen: &[Range<usize>],
    out: &mut [f32],
) -> usize {
    let (dim, len) = (segment.padded_dim, segment.numbers.len() * PAGE);
    let mut scores = [[0.0; SEGMENT]; H];
    score::<V, N, H, T>(zeros, segment, q, &mut scores);
    for h in 0..H {
        let (max, sum) = softmax_terms(&mut scores[h][..len], seen[h].clone());
        out[h * (dim + LANES) + dim] = max;
        out[h * (dim + LANES) + dim + 1] = sum;
    }
    let mut at = 0;
    while at < dim {
        if dim - at >= B * LANES {
            weigh::<V, N, H, B>(zeros, segment, &scores, at, out);
            at += B * LANES;
        } else {
            weigh::<V, N, H, 1>(zeros, segment, &scores, at, out);
            at += LANES;
        }
    }
    H
}

/// `scores[h][position] = Σ q · key`, `T` tiles of 16 positions at a time.
#[inline(always)]
fn score<V: Vector, N: Number, const H: usize, const T: usize>(
    zeros: V,
    segment: &Segment<'_>,
    q: &[f32],
    scores: &mut [[f32; SEGMENT]; H],
) {
    let dim = segment.padded_dim;
    let mut heads = [q; H];
    for h in 0..H {
        heads[h] = &q[h * dim..][..dim];
    }
    for page in 0..segment.numbers.len() {
        let ahead = segment.keys_ahead(page, AHEAD);
        for (i, tiles) in segment.keys(page).chunks_exact(T * dim * N::BLOCK).enumerate() {
            let mut acc = [[zeros; T]; H];
            for d in 0..dim {
                let mut keys = [zeros; T];
                for t in 0..T {
                    let key = &tiles[(t * dim + d) * N::BLOCK..][..N::BLOCK];
                    if (d * N::BLOCK).is_multiple_of(LINE) {
                        zeros.prefetch_scattered(key, ahead);
                    }
                    keys[t] = N::load(zeros, key);
                }
                for h in 0..H {
                    let q = zeros.splat(heads[h][d]);
                    for t in 0..T {
                        acc[h][t] = acc[h][t].add_product(q, keys[t]);
                    }
                }
            }
            for h in 0..H {
                for t in 0..T {
                    scores[h][page * PAGE + (i * T + t) * LANES..][..LANES].copy_from_slice(&acc[h][t].lanes());
                }
            }
        }
    }
}

/// `out[h][at ..] = Σ weight · value` for `B` blocks of 16.
#[inline(always)]
fn weigh<V: Vector, N: Number, const H: usize, const B: usize>(
    zeros: V,
    segment: &Segment<'_>,
    weights: &[[f32; SEGMENT]; H],
    at: usize,
    out: &mut [f32],
) {
    let dim = segment.padded_dim;
    let mut acc = [[zeros; B]; H];
    for page in 0..segment.numbers.len() {
        let ahead = segment.values_ahead(page, AHEAD);
        for (slot, value) in segment.values(page).chunks_exact(dim / LANES * N::BLOCK).enumerate() {
            let value = &value[at / LANES * N::BLOCK..][..B * N::BLOCK];
            let mut blocks = [zeros; B];
            for b in 0..B {
                if (b * N::BLOCK).is_multiple_of(LINE) {
                    zeros.prefetch_scattered(&value[b * N::BLOCK..], ahead);
                }
                blocks[b] = N::load(zeros, &value[b * N::BLOCK..]);
            }
            for h in 0..H {
                let weight = zeros.splat(weights[h][page * PAGE + slot]);
                for b in 0..B {
                    acc[h][b] = acc[h][b].add_product(weight, blocks[b]);
                }
            }
        }
    }
    for (h, blocks) in acc.iter().enumerate() {
        for (b, block) in blocks.iter().enumerate() {
            let at = h * (dim + LANES) + at + b * LANES;
            out[at..at + LANES].copy_from_slice(&block.lanes());
        }
    }
}
