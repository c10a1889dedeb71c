//! Softmax of one query's scores, and its gradient.

use super::math::exp;
use super::vector::{LANES, Vector, fold, lanes};

/// Replaces scores (a multiple of 16) by exp(score − max), and by 0 from `seen` on; returns (max, sum).
#[inline(always)]
pub(crate) fn softmax_terms(scores: &mut [f32], seen: usize) -> (f32, f32) {
    scores[seen..].fill(f32::NEG_INFINITY);
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
    scores[seen..].fill(0.0);
    let mut sum = [0.0; LANES];
    for block in scores.chunks_exact(LANES) {
        for i in 0..LANES {
            sum[i] += block[i];
        }
    }
    (max, fold(sum))
}

/// Scores of one query to weights that sum to 1: softmax of the first `seen`, zeros behind.
#[inline(always)]
pub(crate) fn softmax(scores: &mut [f32], seen: usize) {
    let (_, sum) = softmax_terms(scores, seen);
    let inverse = 1.0 / sum;
    for score in scores.iter_mut() {
        *score *= inverse;
    }
}

/// Replaces the gradients of one query's weights by those of its scores before scaling:
/// `d = w · (d − Σ w·d) · scale`, the sum being `delta`.
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
