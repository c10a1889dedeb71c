//! Attention to the f16 cache: float dot products with one multiplication and one addition per step, in the order of
//! dims and of positions.

use std::ops::Range;

use super::{PAGE, SEGMENT, Segment};
use crate::op::softmax::softmax_terms;
use crate::op::vector::{LANES, Vector};

/// Prefetch distance in pages: 16 KiB of keys or values.
const AHEAD: usize = 2;

/// Bytes of 16 f16 values.
pub(crate) const BLOCK: usize = 2 * LANES;

/// Attends to one segment, for any number of queries; `q` and `out` hold `padded_dim` and `padded_dim + 16` values per
/// query.
#[inline(always)]
pub(crate) fn attend<V: Vector>(zeros: V, segment: &Segment<'_>, q: &[f32], out: &mut [f32]) {
    let (dim, queries) = (segment.padded_dim, segment.seen.len());
    let mut at = 0;
    while at < queries {
        let (q, seen, out) = (&q[at * dim..], &segment.seen[at..], &mut out[at * (dim + LANES)..]);
        // Queries share converted keys; as many are taken together as there are registers for their sums.
        at += match queries - at {
            8.. if V::REGISTERS >= 32 => some::<V, 8, 2, 2>(zeros, segment, q, seen, out),
            4.. if V::REGISTERS >= 32 => some::<V, 4, 2, 4>(zeros, segment, q, seen, out),
            4.. => some::<V, 4, 1, 1>(zeros, segment, q, seen, out),
            _ => some::<V, 1, 2, 4>(zeros, segment, q, seen, out),
        };
    }
}

/// Attends for `H` queries, `T` tiles of keys and `B` blocks of 16 dims of values at a time. Returns `H`.
#[inline(always)]
fn some<V: Vector, const H: usize, const T: usize, const B: usize>(
    zeros: V,
    segment: &Segment<'_>,
    q: &[f32],
    seen: &[Range<usize>],
    out: &mut [f32],
) -> usize {
    let (dim, len) = (segment.padded_dim, segment.numbers.len() * PAGE);
    let mut scores = [[0.0; SEGMENT]; H];
    score::<V, H, T>(zeros, segment, q, &mut scores);
    for h in 0..H {
        let (max, sum) = softmax_terms(&mut scores[h][..len], seen[h].clone());
        out[h * (dim + LANES) + dim] = max;
        out[h * (dim + LANES) + dim + 1] = sum;
    }
    let mut at = 0;
    while at < dim {
        if dim - at >= B * LANES {
            weigh::<V, H, B>(zeros, segment, &scores, at, out);
            at += B * LANES;
        } else {
            weigh::<V, H, 1>(zeros, segment, &scores, at, out);
            at += LANES;
        }
    }
    H
}

/// `scores[h][position] = Σ q · key`, `T` tiles of 16 positions at a time.
#[inline(always)]
fn score<V: Vector, const H: usize, const T: usize>(
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
        for (i, tiles) in segment.keys(page).chunks_exact(T * dim * BLOCK).enumerate() {
            let mut acc = [[zeros; T]; H];
            for d in 0..dim {
                let mut keys = [zeros; T];
                for t in 0..T {
                    let key = &tiles[(t * dim + d) * BLOCK..][..BLOCK];
                    if d % 2 == 0 {
                        zeros.prefetch_scattered(key, ahead);
                    }
                    keys[t] = zeros.load_half(key);
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
fn weigh<V: Vector, const H: usize, const B: usize>(
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
        for (slot, value) in segment.values(page).chunks_exact(2 * dim).enumerate() {
            let value = &value[2 * at..][..B * BLOCK];
            let mut blocks = [zeros; B];
            for b in 0..B {
                if b % 2 == 0 {
                    zeros.prefetch_scattered(&value[b * BLOCK..], ahead);
                }
                blocks[b] = zeros.load_half(&value[b * BLOCK..]);
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
