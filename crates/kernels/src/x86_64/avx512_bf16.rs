//! AVX-512 with BF16: `vdpbf16ps` adds two products to each of 16 sums.

use std::arch::x86_64::*;

use crate::op::bf16::{Operands, PANEL};

/// Rows in a block: with two registers of columns, 16 sums stay in registers.
const ROWS: usize = 8;

/// For CPUs that have the instruction: it came with Cooper Lake and Zen 4.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn pairs(operands: &Operands<'_>, sums: &mut [f32]) {
    assert!(operands.fit(sums.len()));
    if operands.row_step == 1 && operands.pair_step == PANEL {
        rows::<1, PANEL>(operands, 1, sums);
    } else {
        assert!(operands.pair_step == 1);
        rows::<0, 1>(operands, operands.row_step, sums);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rows<const ROW: usize, const PAIR: usize>(operands: &Operands<'_>, row_step: usize, sums: &mut [f32]) {
    for (i, sums) in sums.chunks_mut(ROWS * PANEL).enumerate() {
        let left = &operands.left[i * ROWS * row_step..];
        match sums.len() / PANEL {
            1 => block::<1, ROW, PAIR>(operands, left, sums),
            2 => block::<2, ROW, PAIR>(operands, left, sums),
            3 => block::<3, ROW, PAIR>(operands, left, sums),
            4 => block::<4, ROW, PAIR>(operands, left, sums),
            5 => block::<5, ROW, PAIR>(operands, left, sums),
            6 => block::<6, ROW, PAIR>(operands, left, sums),
            7 => block::<7, ROW, PAIR>(operands, left, sums),
            _ => block::<ROWS, ROW, PAIR>(operands, left, sums),
        }
    }
}

/// Multiplies `R` rows with 32 columns. `ROW` is the distance between rows, or 0 if only `operands` knows it; `PAIR` is
/// the distance between pairs.
#[target_feature(enable = "avx512f,avx512bf16")]
fn block<const R: usize, const ROW: usize, const PAIR: usize>(operands: &Operands<'_>, left: &[u32], sums: &mut [f32]) {
    let row_step = if ROW == 0 { operands.row_step } else { ROW };
    let (pairs, panel) = (operands.pairs, operands.panel);
    assert!(sums.len() == R * PANEL && panel.len() >= pairs * PANEL);
    assert!(pairs == 0 || left.len() > (R - 1) * row_step + (pairs - 1) * PAIR);
    let mut acc = [[_mm512_setzero_ps(); 2]; R];
    for pair in 0..pairs {
        let mut columns = [_mm512_setzero_si512(); 2];
        for half in 0..2 {
            // SAFETY: 32 dwords of each of `pairs` pairs lie inside the panel.
            columns[half] = unsafe { _mm512_loadu_si512(panel.as_ptr().add(pair * PANEL + half * 16).cast()) };
        }
        for r in 0..R {
            // SAFETY: the last row's last pair lies inside `left`.
            let dword = unsafe { *left.as_ptr().add(r * row_step + pair * PAIR) };
            let x = _mm512_set1_epi32(dword as i32);
            for half in 0..2 {
                acc[r][half] = dot_pairs(acc[r][half], x, columns[half]);
            }
        }
    }
    for r in 0..R {
        for half in 0..2 {
            // SAFETY: `sums` has R · 32 places.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr().add(r * PANEL + half * 16), acc[r][half]) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot_pairs(sum: __m512, x: __m512i, y: __m512i) -> __m512 {
    // SAFETY: the types have the same size, and any bits make 32 valid bf16 values.
    unsafe {
        _mm512_dpbf16_ps(sum, std::mem::transmute::<__m512i, __m512bh>(x), std::mem::transmute::<__m512i, __m512bh>(y))
    }
}

#[cfg(test)]
mod tests {
    use super::super::avx512;
    use super::*;

    /// The sums of the instruction, and those of the set without it.
    fn both(left: &[u32], panel: &[u32], sums: usize) -> Option<[Vec<f32>; 2]> {
        if !(avx512::SET.supported)() || !is_x86_feature_detected!("avx512bf16") {
            return None;
        }
        let pairs = panel.len() / PANEL;
        let operands = Operands { left, row_step: pairs, pair_step: 1, panel, pairs };
        let mut out = [vec![0.0; sums], vec![0.0; sums]];
        let [with, without] = &mut out;
        // SAFETY: the CPU has the instruction, and supports the set.
        unsafe {
            super::pairs(&operands, with);
            (avx512::compiled::TABLE.bf16_dot)(&operands, without);
        }
        Some(out)
    }

    #[test]
    fn the_order_of_sums_is_the_instructions() {
        // Exponents between -20 and 19: sums cancel and round in all ways, and stay normal numbers.
        let mut state = 7u64;
        let mut bf16 = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 63 << 15 | (107 + (state >> 40) % 40) << 7 | state >> 56 & 0x7f) as u32
        };
        let (rows, pairs) = (19, 333);
        let left: Vec<u32> = (0..rows * pairs).map(|_| bf16() | bf16() << 16).collect();
        let panel: Vec<u32> = (0..pairs * PANEL).map(|_| bf16() | bf16() << 16).collect();
        let Some([with, without]) = both(&left, &panel, rows * PANEL) else { return };
        assert!(with == without);
        assert!(with.iter().all(|sum| sum.is_normal()));
    }

    #[test]
    fn only_sums_that_are_no_normal_numbers_differ() {
        let small = f32::to_bits(2f32.powi(-64)) >> 16;
        let Some([with, without]) = both(&[small], &[small; PANEL], PANEL) else { return };
        assert!(with == [0.0; PANEL] && without == [2f32.powi(-128); PANEL]);
    }
}
