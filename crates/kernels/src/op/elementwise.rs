//! Operations on each value of a row, or on pairs of values.

use super::math::f32_to_f16;

/// `x += y`
#[inline(always)]
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Rotates pairs (i, i + dim/2) of one head: `(a·cos − b·sin, b·cos + a·sin)`.
#[inline(always)]
pub(crate) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (x, y) = (*a, *b);
        *a = x * cos - y * sin;
        *b = y * cos + x * sin;
    }
}

/// Rounds to f16 (see [`f32_to_f16`]).
#[inline(always)]
pub(crate) fn to_f16(x: &[f32], out: &mut [u16]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = f32_to_f16(*x);
    }
}
