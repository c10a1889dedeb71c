//! Rounding to bf16, into the two layouts. Plain loops, compiled for each set.

use super::{PANEL, View};

/// What can be rounded to bf16.
pub(crate) trait Value: Copy + Default {
    /// The 16 bits of `self · scale`.
    fn bits(self, scale: f32) -> u32;
}

impl Value for f32 {
    #[inline(always)]
    fn bits(self, scale: f32) -> u32 {
        let bits = (self * scale).to_bits();
        let even = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // A carry must not make an infinity of a NaN; denormals are zeros, as the CPU's products take them.
        let number = if even & 0x7f80 == 0 { even & 0x8000 } else { even };
        if bits & 0x7fff_ffff > 0x7f80_0000 { bits >> 16 | 0x40 } else { number }
    }
}

impl Value for i8 {
    /// As it is.
    #[inline(always)]
    fn bits(self, _: f32) -> u32 {
        f32::from(self).to_bits() >> 16
    }
}

/// One row: pairs of neighbouring columns, then zeros.
#[inline(always)]
pub(crate) fn row(x: &[f32], out: &mut [u32]) {
    let (pairs, last) = x.as_chunks::<2>();
    for (out, [even, odd]) in out.iter_mut().zip(pairs) {
        *out = even.bits(1.0) | odd.bits(1.0) << 16;
    }
    out[pairs.len()..].fill(0);
    if let [last] = last {
        out[pairs.len()] = last.bits(1.0);
    }
}

/// Pairs of neighbouring rows of the 32 columns from `first` on, zeros beyond the view.
#[inline(always)]
pub(crate) fn panel<T: Value>(view: View<'_, T>, first: usize, scales: &[f32], out: &mut [u32]) {
    let cols = first..view.cols.min(first + PANEL);
    for (pair, out) in out.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
        let (even, even_scale) = values(view, 2 * pair, cols.clone(), scales);
        let (odd, odd_scale) = values(view, 2 * pair + 1, cols.clone(), scales);
        for j in 0..PANEL {
            out[j] = even[j].bits(even_scale) | odd[j].bits(odd_scale) << 16;
        }
    }
}

/// Some columns of a row, and its scale.
#[inline(always)]
fn values<T: Value>(view: View<'_, T>, row: usize, cols: std::ops::Range<usize>, scales: &[f32]) -> ([T; PANEL], f32) {
    let mut out = [T::default(); PANEL];
    if row >= view.rows {
        return (out, 1.0);
    }
    let x = &view.row(row)[cols];
    if x.len() == PANEL {
        out.copy_from_slice(x);
    } else {
        out[..x.len()].copy_from_slice(x);
    }
    (out, if scales.is_empty() { 1.0 } else { scales[row] })
}

/// Pairs of neighbouring columns of the 32 rows from `first` on: a panel of the transpose.
#[inline(always)]
pub(crate) fn transposed(view: View<'_, f32>, first: usize, out: &mut [u32]) {
    const DEPTH: usize = 16;
    let rows = first..view.rows.min(first + PANEL);
    for (block, out) in out.chunks_exact_mut(DEPTH * PANEL).enumerate() {
        let col = (block * 2 * DEPTH).min(view.cols);
        let cols = col..view.cols.min(col + 2 * DEPTH);
        let mut dwords = [[0; DEPTH]; PANEL];
        for (i, dwords) in rows.clone().zip(&mut dwords) {
            row(&view.row(i)[cols.clone()], dwords);
        }
        for pair in 0..DEPTH {
            for i in 0..PANEL {
                out[pair * PANEL + i] = dwords[i][pair];
            }
        }
    }
}
