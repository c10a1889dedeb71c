//! Converts the sums of a ternary product to its outputs.
//!
//! ```text
//! d    = Σ trit · code over all columns: an exact integer, then the nearest f32
//! a    = the activations' scale of the token (1 for f32 activations, whose d is a sum of f32)
//!
//! one scale s:             y    = d · (s / a)
//! a scale s_r a row:       y_r  = d_r · (s_r / a)
//! ```
//!
//! So a matrix whose rows all have the scale s gives the same bytes as one with the single scale s.
//!
//! `value` converts a sum to d. Each output has its own chain of operations, each rounded once, so the compiler's
//! choice of vectors changes no byte.

/// A single scale for all rows: `scale` is s / a.
#[inline(always)]
pub(crate) fn one<T: Copy>(dots: &[T], value: impl Fn(T) -> f32, scale: f32, out: &mut [f32]) {
    for (out, dot) in out.iter_mut().zip(dots) {
        *out = value(*dot) * scale;
    }
}

/// One scale per row; `activation` is a.
#[inline(always)]
pub(crate) fn rows<T: Copy>(
    dots: &[T],
    value: impl Fn(T) -> f32,
    scales: impl IntoIterator<Item = f32>,
    activation: f32,
    out: &mut [f32],
) {
    for ((out, dot), scale) in out.iter_mut().zip(dots).zip(scales) {
        *out = value(*dot) * (scale / activation);
    }
}
