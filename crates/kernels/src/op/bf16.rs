//! Products of bf16 values, summed in `f32`: rounding into the two layouts of [`mod@crate::bf16`], and the inner
//! product.

// Vectors are indexed, because the closures of iterators may be compiled without the set's features.
#![allow(clippy::needless_range_loop)]

use super::math::f32_to_bf16;
use super::vector::{LANES, Vector};

/// Columns in a panel.
pub(crate) const PANEL: usize = 32;

/// Values that can be rounded to bf16.
trait Value: Copy {
    /// The 16 bits of `self · scale`.
    fn bits(self, scale: f32) -> u32;
}

impl Value for f32 {
    #[inline(always)]
    fn bits(self, scale: f32) -> u32 {
        let nearest = u32::from(f32_to_bf16(self * scale));
        // Denormals become zero, as in the CPU's products.
        if nearest & 0x7f80 == 0 { nearest & 0x8000 } else { nearest }
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

/// Rounds two rows, each multiplied by its scale, to pairs. The second may be empty.
#[inline(always)]
pub(crate) fn pairs(rows: [&[f32]; 2], scales: [f32; 2], out: &mut [u32]) {
    pair_up(rows, scales, out);
}

/// Converts two rows of small integers to pairs. The second may be empty.
#[inline(always)]
pub(crate) fn integers(rows: [&[i8]; 2], out: &mut [u32]) {
    pair_up(rows, [1.0; 2], out);
}

/// Pairs the values of two adjacent rows, each multiplied by its scale. The second may be empty.
#[inline(always)]
fn pair_up<T: Value>([even, odd]: [&[T]; 2], scales: [f32; 2], out: &mut [u32]) {
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

/// Whether `rows` holds at most 32 whole rows, and `out` has room for each dword.
pub(crate) fn turn_fits(rows: &[u32], step: usize, out: &[u32]) -> bool {
    step > 0 && rows.len().is_multiple_of(step) && rows.len() <= PANEL * step && out.len() == step * PANEL
}

/// Transposes 32 rows of dwords, `step` apart, to a panel: `out[pair][row]`. Missing rows give arbitrary values, and
/// zeros beyond a row's end.
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

/// Rows of the left side, and one panel of the right side.
pub(crate) struct Operands<'a> {
    /// Pair `p` of row `i` is at `i · row_step + p · pair_step`; one of the steps is 1.
    pub(crate) left: &'a [u32],
    pub(crate) row_step: usize,
    pub(crate) pair_step: usize,
    /// 32 dwords per pair.
    pub(crate) panel: &'a [u32],
    /// Number of pairs to sum.
    pub(crate) pairs: usize,
}

impl Operands<'_> {
    /// Whether the operands of `sums` sums lie inside their slices.
    pub(crate) fn fit(&self, sums: usize) -> bool {
        let rows = sums / PANEL;
        let last = (rows.max(1) - 1) * self.row_step + (self.pairs.max(1) - 1) * self.pair_step;
        rows * PANEL == sums && self.panel.len() >= self.pairs * PANEL && (self.pairs == 0 || last < self.left.len())
    }
}

/// `sums[row][column of the panel]`, in the order described in [`mod@crate::bf16`].
#[inline(always)]
pub(crate) fn dot<V: Vector>(zeros: V, operands: &Operands<'_>, sums: &mut [f32]) {
    // Eight vectors of sums, or four together with their operands, stay in registers.
    let (next, rest) = match V::REGISTERS {
        32.. => rows::<V, 8, 2>(zeros, operands, 0, sums),
        _ => rows::<V, 4, 1>(zeros, operands, 0, sums),
    };
    rows::<V, 1, 2>(zeros, operands, next, rest);
}

/// Computes as many blocks of `R` rows as possible from row `first` on. Returns the next row and the remaining sums.
#[inline(always)]
fn rows<'a, V: Vector, const R: usize, const C: usize>(
    zeros: V,
    operands: &Operands<'_>,
    first: usize,
    sums: &'a mut [f32],
) -> (usize, &'a mut [f32]) {
    let count = sums.len() / (R * PANEL);
    let (whole, rest) = sums.split_at_mut(count * R * PANEL);
    for i in 0..count {
        let left = &operands.left[(first + i * R) * operands.row_step..];
        let sums = &mut whole[i * R * PANEL..][..R * PANEL];
        for column in (0..PANEL).step_by(C * LANES) {
            block::<V, R, C>(zeros, operands, left, column, sums);
        }
    }
    (first + count * R, rest)
}

/// `R` rows × `C` vectors of columns from `column` on.
#[inline(always)]
fn block<V: Vector, const R: usize, const C: usize>(
    zeros: V,
    operands: &Operands<'_>,
    left: &[u32],
    column: usize,
    sums: &mut [f32],
) {
    let mut acc = [[zeros; C]; R];
    for pair in 0..operands.pairs {
        let panel = &operands.panel[pair * PANEL + column..][..C * LANES];
        let mut columns = [(zeros, zeros); C];
        for c in 0..C {
            columns[c] = zeros.load_pairs(&panel[c * LANES..][..LANES]);
        }
        for r in 0..R {
            let dword = left[r * operands.row_step + pair * operands.pair_step];
            let (x_even, x_odd) = zeros.load_pairs(&[dword; LANES]);
            for c in 0..C {
                let (even, odd) = columns[c];
                acc[r][c] = acc[r][c].add_product(x_odd, odd).add_product(x_even, even);
            }
        }
    }
    for r in 0..R {
        for c in 0..C {
            sums[r * PANEL + column + c * LANES..][..LANES].copy_from_slice(&acc[r][c].lanes());
        }
    }
}

/// Converts the sums of a product to outputs.
#[inline(always)]
pub(crate) fn finish(sums: &[f32], scale: f32, add: bool, out: &mut [f32]) {
    if add {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += scale * sum;
        }
    } else {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = scale * sum;
        }
    }
}
