//! Quantises rows of floats to int8.

use super::math::ROUND;
use super::vector::{LANES, Lanes, lanes};

/// Quantises one row to int8 codes with one scale: `s = 127 / max(max|x|, 1e-5)`, codes `clamp(round_half_even(x·s),
/// −128, 127)`. Returns (s, sum of the codes).
#[inline(always)]
pub(crate) fn quantize(x: &[f32], out: &mut [i8]) -> (f32, i32) {
    let scale = scale(largest(x));
    (scale, codes(x, scale, out))
}

/// `max(max|x|, 1e-5)`. NaN is ignored, so the maximum over parts equals that of the whole.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    let mut max = [1e-5_f32; LANES];
    let mut fold_max = |values: &Lanes| {
        for (max, value) in max.iter_mut().zip(values) {
            let value = value.abs();
            *max = if value > *max { value } else { *max };
        }
    };
    let mut blocks = x.chunks_exact(LANES);
    blocks.by_ref().for_each(|block| fold_max(&lanes(block)));
    fold_max(&lanes(blocks.remainder()));
    max.into_iter().fold(1e-5, |a, b| if b > a { b } else { a })
}

/// The scale of a row whose largest magnitude is `largest`.
#[inline(always)]
pub(crate) fn scale(largest: f32) -> f32 {
    127.0 / largest
}

/// `clamp(round_half_even(x · scale), −128, 127)`. Returns the sum of the codes.
#[inline(always)]
pub(crate) fn codes(x: &[f32], scale: f32, codes: &mut [i8]) -> i32 {
    let mut sum = 0i32;
    for (code, x) in codes.iter_mut().zip(x) {
        let y = x * scale;
        let y = if y > -128.0 { y } else { -128.0 };
        let y = if y < 127.0 { y } else { 127.0 };
        // Adding ROUND rounds half to even, and leaves the integer in the low bits.
        let integer = (y + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32;
        *code = integer as i8;
        sum += integer;
    }
    sum
}
