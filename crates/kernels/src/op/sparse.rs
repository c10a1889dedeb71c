//! Packed trits from which single rows or columns can be read.
//!
//! By rows:
//!
//! ```text
//! row:    stride bytes, whole lines of 64
//! line:   dword g = the 16 columns 16 g … of a tile's lane: byte b, bits 2f + 1 … 2f ↔ column k = 16 g + 4 f + b
//! ```
//!
//! So 16 rows become a tile by transposing dwords. A line masked to field f is 64 columns. The activations are stored
//! in the same order if their dwords are transposed, too ([`arrange`]).
//!
//! By columns:
//!
//! ```text
//! column: stride bytes, one line of 64 for every 256 outputs
//! line:   byte 16 L + 4 u + i, bits 2f + 1 … 2f ↔ output 64 u + 16 f + 4 L + i      (L, u, i, f = 0 … 3)
//! ```
//!
//! Four columns are interleaved byte by byte within 128-bit lanes (`punpck`: L stays, u is the quarter) and masked to
//! field f. The result is 16 outputs in order, each a dword of four codes, which `vpdpbusd` multiplies with the four
//! activations.

use super::ternary::{TILE, lane};
use super::vector::Vector;
use crate::lines::{LINE, Line};

/// Columns in a line of a row.
pub(crate) const COLS: usize = 256;

/// Outputs in a line of a column.
pub(crate) const OUTPUTS: usize = 256;

/// Most columns in one call of [`columns_dot`]: their bytes and those of the next call fit the first-level cache, and
/// AVX2's 16-bit sums do not overflow (32 columns · 2 · −128 · 4 = −2¹⁵).
pub(crate) const GROUP: usize = 32;

/// Some columns with their activations, and the columns of the next call.
pub(crate) struct Columns<'a> {
    /// Indices of the columns, at most [`GROUP`].
    pub picked: &'a [u32],
    /// The activation of each column.
    pub codes: &'a [i8],
    /// Columns to prefetch.
    pub next: &'a [u32],
}

impl Columns<'_> {
    /// Whether there are few enough columns, each with an activation, and one sum for each output.
    pub fn fits(&self, stride: usize, sums: &[i32]) -> bool {
        (1..=GROUP).contains(&self.picked.len()) && self.codes.len() == self.picked.len() && sums.len() == 4 * stride
    }
}

/// The code of column k in a row; this defines the layout.
#[inline(always)]
pub(crate) fn row_code(row: &[u8], k: usize) -> u8 {
    row[k / 16 * 4 + k % 4] >> (2 * (k / 4 % 4)) & 3
}

/// Packs codes (0 … 3; padded to a multiple of 16) into the lines of a row.
pub(crate) fn pack_row(codes: &[u8], row: &mut [Line]) {
    for (g, codes) in codes.as_chunks::<16>().0.iter().enumerate() {
        row[g / 16].0[g % 16 * 4..][..4].copy_from_slice(&lane(codes));
    }
}

/// The index at which [`arrange`] places the activation of column k.
#[inline(always)]
pub(crate) fn place(k: usize) -> usize {
    k / COLS * COLS + k / 4 % 4 * LINE + k % COLS / 16 * 4 + k % 4
}

/// Arranges activations in the order of fields: for every 256 columns, field 0 of all dwords, then field 1, …
pub(crate) fn arrange(x: &[i8], out: &mut [i8]) {
    for (i, dword) in x.chunks(4).enumerate() {
        out[place(4 * i)..][..dword.len()].copy_from_slice(dword);
    }
}

/// The code of an output in a column; this defines the layout.
#[inline(always)]
pub(crate) fn column_code(column: &[u8], output: usize) -> u8 {
    let (u, f, l) = (output / 64 % 4, output / 16 % 4, output % 16);
    column[output / OUTPUTS * LINE + 16 * (l / 4) + 4 * u + l % 4] >> (2 * f) & 3
}

/// `sums[i]` = Σ code · x of row `picked[i]`. Rows are `stride` bytes long; `x` is in the order of [`arrange`].
pub(crate) fn rows_dot(rows: &[u8], stride: usize, picked: &[u32], x: &[i8], sums: &mut [i32]) {
    for (&row, sum) in picked.iter().zip(sums) {
        let row = &rows[row as usize * stride..][..stride];
        *sum = (0..4 * stride).map(|k| i32::from(row_code(row, k)) * i32::from(x[place(k)])).sum();
    }
}

/// Adds Σ code · x over the given columns to the sum of each output. Columns are `stride` bytes long.
#[inline(always)]
pub(crate) fn columns_dot<V: Vector>(zeros: V, columns: &[u8], stride: usize, these: &Columns<'_>, sums: &mut [i32]) {
    for &column in these.next {
        zeros.prefetch_scattered(columns, column as usize * stride);
    }
    for (&column, &x) in these.picked.iter().zip(these.codes) {
        let column = &columns[column as usize * stride..][..stride];
        for (output, sum) in sums.iter_mut().enumerate() {
            *sum += i32::from(column_code(column, output)) * i32::from(x);
        }
    }
}

/// Rearranges 16 rows of `stride` bytes into the lines of one tile.
pub(crate) fn rows_to_tile(rows: &[u8], stride: usize, tile: &mut [u8]) {
    for (g, line) in tile.chunks_exact_mut(LINE).enumerate() {
        for (row, dword) in line.chunks_exact_mut(4).enumerate() {
            dword.copy_from_slice(&rows[row * stride + 4 * g..][..4]);
        }
    }
}

/// Whether `columns` is long enough for [`columns_to_tiles`].
pub(crate) fn columns_fit(columns: &[u8], stride: usize, tiles: &[u8]) -> bool {
    let groups = tiles.len() / (16 * LINE);
    tiles.len() == groups * 16 * LINE && columns.len() + stride >= 16 * groups * stride + LINE
}

/// Rearranges one line (256 outputs) of columns `stride` bytes apart into the 16 tiles of these outputs.
pub(crate) fn columns_to_tiles(columns: &[u8], stride: usize, tiles: &mut [u8]) {
    let groups = tiles.len() / (16 * LINE);
    tiles.fill(0);
    for k in 0..16 * groups {
        for output in 0..16 * TILE {
            let code = column_code(&columns[k * stride..][..LINE], output);
            let line = &mut tiles[(output / TILE * groups + k / 16) * LINE..];
            line[output % TILE * 4 + k % 4] |= code << (2 * (k / 4 % 4));
        }
    }
}
