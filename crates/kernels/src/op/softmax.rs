//! Softmax of one query's scores, and its gradient.

use std::ops::Range;

use super::math::exp;
use super::vector::{LANES, Vector, fold, lanes};

/// Replaces scores (a multiple of 16) with exp(score − max), and with 0 outside of `seen`. Returns (max, sum).
#[inline(always)]
pub(crate) fn softmax_terms(scores: &mut [f32], seen: Range<usize>) -> (f32, f32) {
    scores[..seen.start].fill(f32::NEG_INFINITY);
    scores[seen.end..].fill(f32::NEG_INFINITY);
    let mut max = [f32::NEG_INFINITY; LANES];
    for block in scores.chunks_exact(LANES) {
        for i in 0..LANES {
            max[i] = if block[i] > max[i] { block[i] } else { max[i] };
        }
    }
    let max = max.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    for score in scores.iter_mut() {
        *score = exp(*score - max);
    }
    scores[..seen.start].fill(0.0);
    scores[seen.end..].fill(0.0);
    let mut sum = [0.0; LANES];
    for block in scores.chunks_exact(LANES) {
        for i in 0..LANES {
            sum[i] += block[i];
        }
    }
    (max, fold(sum))
}

/// Softmax of the first `seen` scores of one query: weights that sum to 1. The other weights are 0.
#[inline(always)]
pub(crate) fn softmax(scores: &mut [f32], seen: usize) {
    let (_, sum) = softmax_terms(scores, 0..seen);
    let inverse = 1.0 / sum;
    for score in scores.iter_mut() {
        *score *= inverse;
    }
}

/// Replaces the gradients of one query's weights with those of its scores before scaling: `d = w · (d − Σ w·d) ·
/// scale`, where `delta` is the sum.
#[inline(always)]
pub(crate) fn softmax_backward(weights: &[f32], d: &mut [f32], delta: f32, scale: f32) {
    for (d, w) in d.iter_mut().zip(weights) {
        *d = w * (*d - delta) * scale;
    }
}

/// `Σ a·b`
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut acc = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        acc = acc.add_product(lanes(a), lanes(b));
    }
    fold(acc)
}
