//! Packed trits in tiles of 16 rows, and their dot products with activations.
//!
//! All instruction sets share one layout ("T16", 2 bits per weight): tiles of 16 rows, with one 64-byte line for every
//! 16 columns. Code = trit + 1.
//!
//! ```text
//! line g of a tile:   lane (u32, little endian) = row 0 … 15
//!                     lane:  byte 0   byte 1   byte 2   byte 3
//!                     bits:  7…0      each byte: field 3 | field 2 | field 1 | field 0   (2 bits each)
//!                     column k = 16 g + 4 · field + byte
//! ```
//!
//! A line masked to one field is 16 rows × 4 adjacent columns of bytes, which `vpdpbusd` multiplies with a broadcast
//! dword of activations. Codes are 0, 1, 2, so Σ trit·x = Σ code·x − Σ x.

use super::operand::Operand;
use super::vector::LANES;
use crate::lines::LINE;

/// Rows in a tile.
pub const TILE: usize = 16;

/// Most columns of a matrix, such that the largest sum of 2-bit fields (see `x86_64::avx512`) stays below 2³¹.
pub const MAX_COLS: usize = 1 << 18;

/// The code of (row, column k) in a tile; this defines the layout.
#[inline(always)]
pub(crate) fn code(tile: &[u8], row: usize, k: usize) -> u8 {
    tile[k / 16 * LINE + row * 4 + k % 4] >> (2 * (k / 4 % 4)) & 3
}

/// A row's lane in a line: the codes of 16 adjacent columns.
#[inline(always)]
pub(crate) fn lane(codes: &[u8; 16]) -> [u8; 4] {
    let codes = u128::from_le_bytes(*codes);
    // Field f is dword f. Codes are below 4, so shifting a dword of them never crosses a byte.
    let (low, high) = (codes as u64, (codes >> 64) as u64);
    let word = low | low >> 30 | (high | high >> 30) << 4;
    (word as u32).to_le_bytes()
}

/// Whether the lengths of the arguments of [`dot`] match.
pub(crate) fn fits(codes: &[u8], x: &Operand<'_>, sums: &[i32]) -> bool {
    let tile = x.depth / 16 * LINE;
    tile > 0 && x.fits() && codes.len().is_multiple_of(tile) && sums.len() == x.tokens * (codes.len() / tile * TILE)
}

/// Dot products of 2-bit codes (0, 1, 2 for −1, 0, +1) with int8 activations, in tiles of 16 rows (see the module for
/// the layout).
///
/// `codes` holds tiles of `x.depth / 16` lines. `sums[t][row]` gets the exact sum of code · x.
#[inline(always)]
pub(crate) fn dot(codes: &[u8], x: &Operand<'_>, sums: &mut [i32]) {
    let tile_bytes = x.depth / 16 * LINE;
    let mut row_of_x = Vec::new();
    for (t, sums) in sums.chunks_exact_mut(codes.len() / tile_bytes * TILE).enumerate() {
        let x = x.row(t, &mut row_of_x);
        for (row, sum) in sums.iter_mut().enumerate() {
            let tile = &codes[row / TILE * tile_bytes..][..tile_bytes];
            *sum = x.iter().enumerate().map(|(k, x)| i32::from(code(tile, row % TILE, k)) * i32::from(*x)).sum();
        }
    }
}

/// Whether the lengths of the arguments of [`dot_f32`] match.
pub(crate) fn fits_f32(codes: &[u8], groups: usize, x: &[f32], depth: usize, out: &[f32]) -> bool {
    let tile = groups * LINE;
    tile > 0
        && codes.len().is_multiple_of(tile)
        && (1..=groups * 16).contains(&depth)
        && x.len().is_multiple_of(depth)
        && out.len() == x.len() / depth * (codes.len() / tile * TILE)
}

/// Dot products of trits with `f32` rows, tile by tile. Each lane is a row, which adds its products in the order of k.
#[inline(always)]
pub(crate) fn dot_f32(codes: &[u8], groups: usize, x: &[f32], depth: usize, out: &mut [f32]) {
    let tiles = codes.len() / (groups * 64);
    for (x, out) in x.chunks_exact(depth).zip(out.chunks_exact_mut(tiles * 16)) {
        for (tile, out) in codes.chunks_exact(groups * 64).zip(out.chunks_exact_mut(16)) {
            let mut acc = [0.0; LANES];
            for (line, x) in tile.chunks_exact(64).zip(x.chunks(16)) {
                let mut words = [0u32; LANES];
                for (word, bytes) in words.iter_mut().zip(line.chunks_exact(4)) {
                    *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
                for (k, &x) in x.iter().enumerate() {
                    let shift = 8 * (k % 4) + 2 * (k / 4);
                    for (acc, word) in acc.iter_mut().zip(words) {
                        *acc += ((word >> shift & 3) as i32 - 1) as f32 * x;
                    }
                }
            }
            out.copy_from_slice(&acc);
        }
    }
}
