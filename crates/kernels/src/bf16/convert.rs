//! Rounding to bf16, into the two layouts. Plain loops, compiled for each set.

use super::PANEL;

/// What can be rounded to bf16.
pub(crate) trait Value: Copy {
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

/// Pairs of two neighbouring rows, each multiplied with its scale. The second may be empty.
#[inline(always)]
pub(crate) fn pairs<T: Value>([even, odd]: [&[T]; 2], scales: [f32; 2], out: &mut [u32]) {
    if odd.is_empty() {
        for (out, even) in out.iter_mut().zip(even) {
            *out = even.bits(scales[0]);
        }
    } else {
        for ((out, even), odd) in out.iter_mut().zip(even).zip(odd) {
            *out = even.bits(scales[0]) | odd.bits(scales[1]) << 16;
        }
    }
}

/// 32 rows of dwords, `step` apart, to a panel: `out[pair][row]`. Rows that are not there give anything, zeros beyond a
/// row's end.
#[inline(always)]
pub(crate) fn turn(rows: &[u32], step: usize, out: &mut [u32]) {
    const DEPTH: usize = 16;
    for (block, out) in out.as_chunks_mut::<{ DEPTH * PANEL }>().0.iter_mut().enumerate() {
        for (i, row) in rows.chunks_exact(step).enumerate() {
            let row = &row[block * DEPTH..][..DEPTH];
            for pair in 0..DEPTH {
                out[pair * PANEL + i] = row[pair];
            }
        }
    }
}
