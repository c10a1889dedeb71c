//! The inner product, for sets that have no instruction of their own for it.

// Vectors are indexed: an iterator's closures may be compiled without the instruction set's features.
#![allow(clippy::needless_range_loop)]

use super::PANEL;
use crate::portable::LANES;
use crate::vector::Vector;

/// Rows of the left side, and one panel of the right one.
pub(crate) struct Operands<'a> {
    /// Pair `p` of row `i` at `i · row_step + p · pair_step`, one of which is 1.
    pub(crate) left: &'a [u32],
    pub(crate) row_step: usize,
    pub(crate) pair_step: usize,
    /// 32 dwords a pair.
    pub(crate) panel: &'a [u32],
    /// Pairs to sum over.
    pub(crate) pairs: usize,
}

impl Operands<'_> {
    /// Whether the operands of so many sums lie inside their slices.
    pub(crate) fn fit(&self, sums: usize) -> bool {
        let rows = sums / PANEL;
        let last = (rows.max(1) - 1) * self.row_step + (self.pairs.max(1) - 1) * self.pair_step;
        rows * PANEL == sums && self.panel.len() >= self.pairs * PANEL && (self.pairs == 0 || last < self.left.len())
    }
}

/// `sums[row][column of the panel]`, in the order that the module writes down.
#[inline(always)]
pub(crate) fn dot<V: Vector>(operands: &Operands<'_>, sums: &mut [f32]) {
    // Eight vectors of sums, or four and what they are multiplied with, stay in registers.
    let (next, rest) = match V::REGISTERS {
        32.. => rows::<V, 8, 2>(operands, 0, sums),
        _ => rows::<V, 4, 1>(operands, 0, sums),
    };
    rows::<V, 1, 2>(operands, next, rest);
}

/// As many blocks of `R` rows as there are, beginning with row `first`; returns the row and the sums after them.
#[inline(always)]
fn rows<'a, V: Vector, const R: usize, const C: usize>(
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
            block::<V, R, C>(operands, left, column, sums);
        }
    }
    (first + count * R, rest)
}

/// `R` rows × `C` vectors of columns from `column` on.
#[inline(always)]
fn block<V: Vector, const R: usize, const C: usize>(
    operands: &Operands<'_>,
    left: &[u32],
    column: usize,
    sums: &mut [f32],
) {
    let mut acc = [[V::splat(0.0); C]; R];
    for pair in 0..operands.pairs {
        let panel = &operands.panel[pair * PANEL + column..][..C * LANES];
        let mut columns = [(V::splat(0.0), V::splat(0.0)); C];
        for c in 0..C {
            columns[c] = V::load_pairs(&panel[c * LANES..][..LANES]);
        }
        for r in 0..R {
            let dword = left[r * operands.row_step + pair * operands.pair_step];
            let (x_even, x_odd) = V::load_pairs(&[dword; LANES]);
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
