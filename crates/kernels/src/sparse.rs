//! Products that read only part of a matrix: what a gate with zeros makes possible.
//!
//! ```text
//! relu(g)² ──► rows of up_proj whose gate is positive ──► h = relu(g)² · up
//!          ──► columns of down_proj whose int8 code of h is not zero ──► y
//! ```
//!
//! A tile of 16 rows almost always holds a row that is wanted, so the two matrices have layouts of their own, in which a
//! row ([`RowMatrix`](crate::RowMatrix)) or a column ([`ColumnMatrix`](crate::ColumnMatrix)) is contiguous. They are
//! stored once. Each token of a batch reads what it needs, unless together they need so much that a product with all of
//! it ([`crate::ternary::matmul`]) takes less time: a piece at a time is then rearranged into tiles.

use std::ops::Deref;

use crate::activations::Activations;
use crate::lines::LINE;
use crate::rows::Rows;
use crate::set::Cpu;
use crate::ternary::TILE;

/// The kernels of both layouts.
#[derive(Clone, Copy)]
pub(crate) struct Sparse {
    /// See [`portable::rows_dot`].
    pub rows_dot: RowsDot,
    /// See [`portable::columns_dot`].
    pub columns_dot: unsafe fn(&[u8], usize, &Columns<'_>, &mut [i32]),
    /// Whether `columns_dot` leaves the sums of field f multiplied by 4ᶠ.
    pub scaled: bool,
    /// See [`portable::rows_to_tile`].
    pub rows_to_tile: unsafe fn(&[u8], usize, &mut [u8]),
    /// See [`portable::columns_to_tiles`].
    pub columns_to_tiles: unsafe fn(&[u8], usize, &mut [u8]),
    /// How many matrices, read by rows or columns, take as long as one that is rearranged for this many tokens.
    pub whole: fn(usize) -> f32,
}

type RowsDot = unsafe fn(&[u8], usize, &[u32], &[i8], &mut [i32]);

/// Most columns of one call of `columns_dot`: their bytes and those of the next call fit the first-level cache, and
/// AVX2's 16-bit sums do not wrap (32 columns · 2 · −128 · 4 = −2¹⁵).
pub(crate) const GROUP: usize = 32;

/// Some columns with their activations, and the columns that will be asked for next.
pub(crate) struct Columns<'a> {
    /// At most [`GROUP`].
    pub picked: &'a [u32],
    /// The activation of each.
    pub codes: &'a [i8],
    /// To be prefetched.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "the portable kernels do not prefetch"))]
    pub next: &'a [u32],
}

/// The definition of correct.
pub(crate) mod portable {
    use super::*;
    use crate::{column_matrix, row_matrix};

    /// `sums[i]` = Σ code · x of row `picked[i]`. Rows are `stride` bytes long; `x` is arranged as
    /// [`row_matrix::arrange`] does it.
    pub(crate) fn rows_dot(rows: &[u8], stride: usize, picked: &[u32], x: &[i8], sums: &mut [i32]) {
        for (&row, sum) in picked.iter().zip(sums) {
            let row = &rows[row as usize * stride..][..stride];
            *sum =
                (0..4 * stride).map(|k| i32::from(row_matrix::code(row, k)) * i32::from(x[row_matrix::place(k)])).sum();
        }
    }

    /// Adds Σ code · x over the given columns to the sum of each output. Columns are `stride` bytes long.
    pub(crate) fn columns_dot(columns: &[u8], stride: usize, these: &Columns<'_>, sums: &mut [i32]) {
        for (&column, &x) in these.picked.iter().zip(these.codes) {
            let column = &columns[column as usize * stride..][..stride];
            for (output, sum) in sums.iter_mut().enumerate() {
                *sum += i32::from(column_matrix::code(column, output)) * i32::from(x);
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

    /// Rearranges one line (256 outputs) of columns `stride` bytes apart into the 16 tiles of these outputs.
    pub(crate) fn columns_to_tiles(columns: &[u8], stride: usize, tiles: &mut [u8]) {
        let groups = tiles.len() / (16 * LINE);
        tiles.fill(0);
        for k in 0..16 * groups {
            for output in 0..16 * TILE {
                let code = column_matrix::code(&columns[k * stride..][..LINE], output);
                let line = &mut tiles[(output / TILE * groups + k / 16) * LINE..];
                line[output % TILE * 4 + k % 4] |= code << (2 * (k / 4 % 4));
            }
        }
    }

    pub(crate) const SPARSE: Sparse = Sparse {
        rows_dot: |rows, stride, picked, x, sums| rows_dot(rows, stride, picked, x, sums),
        columns_dot: |columns, stride, these, sums| columns_dot(columns, stride, these, sums),
        scaled: false,
        rows_to_tile: |rows, stride, tile| rows_to_tile(rows, stride, tile),
        columns_to_tiles: |columns, stride, tiles| columns_to_tiles(columns, stride, tiles),
        whole: |tokens| tokens as f32,
    };
}

/// The places of each token's input or output that are not zero, in order.
pub struct Wanted(Vec<Vec<u32>>);

impl Wanted {
    /// Where a gate is positive.
    pub fn positive(cpu: &Cpu, gate: &Rows) -> Self {
        Self::places(cpu, gate.len(), |t, places| push(places, gate.row(t), |gate| gate > 0.0))
    }

    /// Where codes are not zero.
    pub fn nonzero(cpu: &Cpu, x: &Activations) -> Self {
        Self::places(cpu, x.rows(), |t, places| push(places, x.row(t), |code| code != 0))
    }

    fn places(cpu: &Cpu, tokens: usize, find: impl Fn(usize, &mut Vec<u32>) + Sync) -> Self {
        let mut places = vec![Vec::new(); tokens];
        cpu.pool.pieces(&mut places, 1, |t, places| find(t, &mut places[0]));
        Self(places)
    }

    /// Places of all tokens.
    pub fn total(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether to read a matrix of `all` rows or columns for each token anew, instead of all of it once.
    pub(crate) fn one_by_one(&self, cpu: &Cpu, all: usize) -> bool {
        self.total() as f32 <= (cpu.set.sparse.whole)(self.0.len()) * all as f32
    }
}

impl Deref for Wanted {
    type Target = [Vec<u32>];

    fn deref(&self) -> &[Vec<u32>] {
        &self.0
    }
}

#[inline(always)]
fn push<T: Copy>(places: &mut Vec<u32>, values: &[T], keep: impl Fn(T) -> bool) {
    places.resize(values.len(), 0);
    let mut n = 0;
    for (i, &value) in values.iter().enumerate() {
        // Always written, kept if wanted: no branch that is taken at random.
        places[n] = i as u32;
        n += usize::from(keep(value));
    }
    places.truncate(n);
}
