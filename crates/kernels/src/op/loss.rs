//! The training loss of one row of logits, and its gradient.

use super::math::{exp, ln64};
use super::vector::{LANES, fold};

/// Parameters of the loss.
#[derive(Clone, Copy, Debug)]
pub struct LossTerms {
    /// Factor of every row's gradient: 1 / number of targets.
    pub scale: f32,
    /// Weight of the z-loss `ln²Z`, which keeps logits from drifting.
    pub z: f32,
}

/// Replaces a row of logits with the gradient of the loss. Returns ln Z and −ln p(target).
#[inline(always)]
pub(crate) fn cross_entropy(logits: &mut [f32], target: usize, terms: LossTerms) -> (f32, f32) {
    let mut max = [f32::NEG_INFINITY; LANES];
    for block in logits.chunks(LANES) {
        for (max, x) in max.iter_mut().zip(block) {
            *max = if *x > *max { *x } else { *max };
        }
    }
    let max = max.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    let wanted = logits[target] - max;
    let mut sums = [0.0; LANES];
    for block in logits.chunks_mut(LANES) {
        for (sum, x) in sums.iter_mut().zip(block) {
            *x = exp(*x - max);
            *sum += *x;
        }
    }
    let sum = fold(sums);
    let log_sum = ln64(f64::from(sum)) as f32;
    let log_z = log_sum + max;
    let factor = terms.scale * (1.0 + 2.0 * terms.z * log_z) / sum;
    for x in logits.iter_mut() {
        *x *= factor;
    }
    logits[target] -= terms.scale;
    (log_z, log_sum - wanted)
}
