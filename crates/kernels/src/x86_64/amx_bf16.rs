//! AMX with BF16: one instruction adds the products of 16 rows × 16 pairs × 16 columns to a tile of sums.
//!
//! ```text
//! A  left side    tile row = a row, 16 pairs         straight from `Bf16Rows`
//! B  right side   tile row = a pair, 16 columns      straight from `Bf16Panels`
//! C  sums (f32)   tile row = a row, 16 columns
//! ```
//!
//! The instruction adds up the even products of a tile and the odd ones, each from zero, then adds both to the sum.
//! This order differs from that of the other sets, but does not depend on the other dimensions of the matrices.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::LazyLock;

use super::avx512;
use super::tiles::Configured;
use crate::op::bf16::{Operands, PANEL};

/// Rows of a tile, and its pairs.
const ROWS: usize = 16;
const PAIRS: usize = 16;
/// Tiles of a panel along its pairs that stay in the first-level cache (20 KiB, and as much of the left side).
const DEPTH: usize = 10;

/// Whether the CPU has the BF16 instruction. The set has already checked the tile registers.
pub(super) fn available() -> bool {
    static BF16: LazyLock<bool> = LazyLock::new(|| __cpuid_count(7, 0).edx & 1 << 22 != 0);
    *BF16
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
pub(super) fn dot(operands: &Operands<'_>, sums: &mut [f32]) {
    if available() && operands.pair_step == 1 {
        // SAFETY: this kernel belongs to the set `amx`, which runs only where `supported` found the registers and their
        // permission; `available` found the instruction.
        unsafe { product::<Registers>(operands, sums) };
    } else {
        // SAFETY: the features enabled for this function are those of the set.
        unsafe { (avx512::SET.bf16_dot)(operands, sums) }
    }
}

/// Tile registers, configured.
trait Tiles {
    /// Configures the tiles for blocks of `rows` rows, at most two tiles.
    ///
    /// # Safety
    /// The CPU has the instructions of the implementation, and the operating system has permitted them.
    unsafe fn configure(rows: usize) -> Self;
    /// Adds to `sums[row][column]` the products of rows, which are `step` dwords apart, with whole tiles of pairs.
    fn multiply(&self, left: &[u32], step: usize, panel: &[u32], sums: &mut [f32]);
}

/// The blocking: takes the panel in parts, and multiplies all rows with each part.
///
/// # Safety
/// That of [`Tiles::configure`].
#[inline(always)]
unsafe fn product<T: Tiles>(operands: &Operands<'_>, sums: &mut [f32]) {
    const BLOCK: usize = 2 * ROWS;
    let depth = operands.pairs.next_multiple_of(PAIRS);
    sums.fill(0.0);
    let (whole, rest) = sums.split_at_mut(sums.len() / (BLOCK * PANEL) * (BLOCK * PANEL));
    let first = whole.len() / PANEL;
    for (first, sums) in [(0, whole), (first, rest)] {
        if sums.is_empty() {
            continue;
        }
        // SAFETY: the caller vouches for the tiles.
        let tiles = unsafe { T::configure(BLOCK.min(sums.len() / PANEL)) };
        for pair in (0..depth).step_by(DEPTH * PAIRS) {
            let pairs = (DEPTH * PAIRS).min(depth - pair);
            let panel = &operands.panel[pair * PANEL..][..pairs * PANEL];
            for (i, sums) in sums.chunks_mut(BLOCK * PANEL).enumerate() {
                let left = &operands.left[(first + i * BLOCK) * operands.row_step + pair..];
                tiles.multiply(left, operands.row_step, panel, sums);
            }
        }
    }
}

/// The CPU's tile registers: sums in 0 to 3, the left side in 4 and 5, the right side in 6 and 7.
struct Registers {
    rows: usize,
    _tiles: Configured,
}

impl Tiles for Registers {
    #[inline(always)]
    unsafe fn configure(rows: usize) -> Self {
        let [first, second] = [rows.min(ROWS), if rows > ROWS { rows - ROWS } else { ROWS }];
        let rows_of_tiles = [first, first, second, second, first, second, PAIRS, PAIRS];
        // SAFETY: the caller vouches for the registers.
        Self { rows, _tiles: unsafe { Configured::new(rows_of_tiles) } }
    }

    #[inline(always)]
    fn multiply(&self, left: &[u32], step: usize, panel: &[u32], sums: &mut [f32]) {
        let steps = panel.len() / (PAIRS * PANEL);
        assert!(steps > 0 && panel.len() == steps * PAIRS * PANEL && sums.len() == self.rows * PANEL);
        assert!(left.len() >= (self.rows - 1) * step + steps * PAIRS);
        if self.rows <= ROWS {
            // SAFETY: configured for `rows` rows (`self`), which are those of the left side and of the sums; each step
            // reads 64 bytes of each row and 2048 of the panel; the slices hold as much, as asserted.
            unsafe {
                asm!(
                    "tileloadd tmm0, [{c} + {line} * 1]",
                    "tileloadd tmm1, [{c} + {line} * 1 + 64]",
                    "2:",
                    "tileloadd tmm4, [{a} + {row} * 1]",
                    "tileloadd tmm6, [{b} + {line} * 1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {line} * 1 + 64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "add {a}, 64",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{c} + {line} * 1], tmm0",
                    "tilestored [{c} + {line} * 1 + 64], tmm1",
                    a = inout(reg) left.as_ptr() => _, b = inout(reg) panel.as_ptr() => _,
                    steps = inout(reg) steps => _, c = in(reg) sums.as_mut_ptr(),
                    row = in(reg) 4 * step, line = in(reg) 4 * PANEL,
                    out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _, options(nostack),
                );
            }
        } else {
            // SAFETY: configured for `rows` rows (`self`), 16 in the first tiles and the rest in the second ones, which
            // hold the rows and sums from 16 on; each step reads 64 bytes of each row and 2048 of the panel; the slices
            // hold as much, as asserted.
            unsafe {
                asm!(
                    "tileloadd tmm0, [{c} + {line} * 1]",
                    "tileloadd tmm1, [{c} + {line} * 1 + 64]",
                    "tileloadd tmm2, [{c} + {line} * 1 + 2048]",
                    "tileloadd tmm3, [{c} + {line} * 1 + 2112]",
                    "2:",
                    "tileloadd tmm4, [{a} + {row} * 1]",
                    "tileloadd tmm6, [{b} + {line} * 1]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {line} * 1 + 64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a1} + {row} * 1]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a}, 64",
                    "add {a1}, 64",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{c} + {line} * 1], tmm0",
                    "tilestored [{c} + {line} * 1 + 64], tmm1",
                    "tilestored [{c} + {line} * 1 + 2048], tmm2",
                    "tilestored [{c} + {line} * 1 + 2112], tmm3",
                    a = inout(reg) left.as_ptr() => _, a1 = inout(reg) left[ROWS * step..].as_ptr() => _,
                    b = inout(reg) panel.as_ptr() => _, steps = inout(reg) steps => _, c = in(reg) sums.as_mut_ptr(),
                    row = in(reg) 4 * step, line = in(reg) 4 * PANEL,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _,
                    out("tmm6") _, out("tmm7") _, options(nostack),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tile registers in plain Rust, following the manual's definition of the instructions.
    struct Model {
        rows: usize,
    }

    impl Tiles for Model {
        unsafe fn configure(rows: usize) -> Self {
            Self { rows }
        }

        fn multiply(&self, left: &[u32], step: usize, panel: &[u32], sums: &mut [f32]) {
            assert_eq!(sums.len(), self.rows * PANEL);
            let (even, odd) = (|x: u32| f32::from_bits(x << 16), |x: u32| f32::from_bits(x & !0xffff));
            for (row, sums) in sums.chunks_exact_mut(PANEL).enumerate() {
                for (column, sum) in sums.iter_mut().enumerate() {
                    for tile in 0..panel.len() / (PAIRS * PANEL) {
                        let (mut evens, mut odds) = (0.0, 0.0);
                        for pair in tile * PAIRS..(tile + 1) * PAIRS {
                            let (x, y) = (left[row * step + pair], panel[pair * PANEL + column]);
                            evens += even(x) * even(y);
                            odds += odd(x) * odd(y);
                        }
                        *sum += evens + odds;
                    }
                }
            }
        }
    }

    /// Tests everything but the assembly, on any x86-64, with partial tiles of rows and pairs.
    #[test]
    fn the_blocking_is_exact() {
        let mut state = 7u32;
        // Sums of small integers are exact in every order.
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 28) as f32 - 8.0).to_bits() >> 16 | (((state >> 24 & 15) as f32 - 8.0).to_bits() & !0xffff)
        };
        for pairs in [1, 16, 17, 160, 161, 500] {
            let step = usize::next_multiple_of(pairs, PAIRS) + PAIRS;
            for rows in [1, 16, 17, 32, 33, 64, 81] {
                let mut left: Vec<u32> = (0..rows * step).map(|_| random()).collect();
                left.chunks_exact_mut(step).for_each(|row| row[pairs..].fill(0));
                let panel: Vec<u32> = (0..step * PANEL).map(|_| random()).collect();
                let operands = Operands { left: &left, row_step: step, pair_step: 1, panel: &panel, pairs };
                let (mut expected, mut got) = (vec![0.0; rows * PANEL], vec![-1.0; rows * PANEL]);
                crate::op::bf16::dot([0.0; 16], &operands, &mut expected);
                // SAFETY: the model is plain Rust and needs no instructions.
                unsafe { product::<Model>(&operands, &mut got) };
                assert!(got == expected, "{rows} rows, {pairs} pairs");
            }
        }
    }
}
