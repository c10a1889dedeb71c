//! The inner product, for sets that have no instruction of their own for it.

use super::PANEL;
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
    let (next, rest) = match V::REGISTERS {
        32.. => rows::<V, 8>(operands, 0, sums),
        _ => rows::<V, 2>(operands, 0, sums),
    };
    rows::<V, 1>(operands, next, rest);
}

/// As many blocks of `R` rows as there are, beginning with row `first`; returns the row and the sums after them.
#[inline(always)]
fn rows<'a, V: Vector, const R: usize>(
    operands: &Operands<'_>,
    first: usize,
    sums: &'a mut [f32],
) -> (usize, &'a mut [f32]) {
    let count = sums.len() / (R * PANEL);
    let (whole, rest) = sums.split_at_mut(count * R * PANEL);
    for i in 0..count {
        let left = &operands.left[(first + i * R) * operands.row_step..];
        block::<V, R>(operands, left, &mut whole[i * R * PANEL..][..R * PANEL]);
    }
    (first + count * R, rest)
}

#[inline(always)]
fn block<V: Vector, const R: usize>(operands: &Operands<'_>, left: &[u32], sums: &mut [f32]) {
    let mut acc = [[V::splat(0.0); 2]; R];
    for pair in 0..operands.pairs {
        let panel = &operands.panel[pair * PANEL..][..PANEL];
        let (even, odd) = V::load_pairs(&panel[..16]);
        let (even_2, odd_2) = V::load_pairs(&panel[16..]);
        for r in 0..R {
            let dword = left[r * operands.row_step + pair * operands.pair_step];
            let (x_even, x_odd) = (V::splat(f32::from_bits(dword << 16)), V::splat(f32::from_bits(dword & !0xffff)));
            acc[r][0] = acc[r][0].add_product(x_odd, odd).add_product(x_even, even);
            acc[r][1] = acc[r][1].add_product(x_odd, odd_2).add_product(x_even, even_2);
        }
    }
    for r in 0..R {
        for half in 0..2 {
            sums[r * PANEL + half * 16..][..16].copy_from_slice(&acc[r][half].lanes());
        }
    }
}
