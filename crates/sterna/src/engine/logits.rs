//! Comparisons and sums of logits that tolerate NaN and infinity.

use sterna_kernels::math::{exp, exp64, ln64};

/// The value that counts: −∞ for NaN, the greatest finite number for infinity.
#[inline(always)]
pub(super) fn clean(logit: f32) -> f32 {
    if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) }
}

/// ln Σ eˣ of a row, in `f64`, with 16 partial sums in a fixed order so that the result is the same on every machine.
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let greatest = greatest(logits);
    let (chunks, rest) = logits.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for chunk in chunks {
        for (sum, &logit) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(exp(clean(logit) - greatest));
        }
    }
    for (sum, &logit) in sums.iter_mut().zip(rest) {
        *sum += f64::from(exp(clean(logit) - greatest));
    }
    f64::from(greatest) + ln64(sums.iter().sum())
}

/// The Kullback-Leibler divergence Σ p ln(p / q) in nats, of the distributions that two rows of logits mean. 0 for equal
/// rows; infinite if a token that `p` allows is impossible in `q`.
pub(super) fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (total_p, total_q) = (log_sum_exp(p), log_sum_exp(q));
    let term = |(&p, &q): (&f32, &f32)| {
        let (p, q) = (f64::from(clean(p)) - total_p, f64::from(clean(q)) - total_q);
        let weight = exp64(p.max(-700.0));
        if p > -700.0 { weight * (p - q) } else { 0.0 }
    };
    p.iter().zip(q).map(term).sum::<f64>().max(0.0)
}

/// The greatest logit; a finite number even if no logit is finite.
pub(super) fn greatest(logits: &[f32]) -> f32 {
    let (chunks, rest) = logits.as_chunks::<16>();
    let mut lanes = [f32::MIN; 16];
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::MIN, |a, &b| if b > a { b } else { a }).min(f32::MAX)
}

/// The index of the greatest logit, the first of equal ones; 0 if all are NaN.
pub(super) fn argmax(logits: &[f32]) -> usize {
    let greatest = greatest(logits);
    logits.iter().position(|&logit| logit >= greatest).unwrap_or(0)
}

/// The indices of the `count` greatest logits, best first, equal ones in order. Costs one pass and a selection instead
/// of a sort.
pub(super) fn best(logits: &[f32], count: usize) -> Vec<u32> {
    if count == 0 {
        return Vec::new();
    }
    let mut keys: Vec<u64> = (0..).zip(logits).map(|(id, &logit)| key(-clean(logit), id)).collect();
    if count < keys.len() {
        keys.select_nth_unstable(count - 1);
        keys.truncate(count);
    }
    keys.sort_unstable();
    keys.into_iter().map(|key| key as u32).collect()
}

/// An integer that sorts like (`value`, `id`). −0 counts as 0.
pub(super) fn key(value: f32, id: u32) -> u64 {
    let bits = (value + 0.0).to_bits();
    let sortable = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(sortable) << 32 | u64::from(id)
}
