//! Products that read only part of a matrix: what a gate with zeros makes possible.
//!
//! ```text
//! relu(g)² ──► rows of up_proj whose gate is positive ──► h = relu(g)² · up
//!          ──► columns of down_proj whose int8 code of h is not zero ──► y
//! ```
//!
//! A tile of 16 rows almost always holds a row that is wanted, so the two matrices have layouts of their own, in which a
//! row ([`RowMatrix`](crate::RowMatrix)) or a column ([`ColumnMatrix`](crate::ColumnMatrix)) is contiguous. They are
//! stored once: for several tokens a piece at a time is rearranged into tiles ([`crate::ternary`]), which costs little
//! against the product.

use std::cell::RefCell;

use crate::activations::Activations;
use crate::lines::{LINE, Lines};
use crate::pool::{Pool, SendPtr};
use crate::rows::Rows;
use crate::set::Cpu;
use crate::ternary::{TILE, TernaryMatrix};

/// A layout that rows of trits are packed into.
pub trait Pack: Sized {
    /// Packs a matrix whose row `r` is written by `fill(r, trits)` as −1, 0, +1 (`cols` values).
    ///
    /// Rows are filled in parallel; the error of the lowest failing piece of work is returned. Panics if the matrix has
    /// more columns than the layout's sums can take.
    fn pack<E: Send>(
        pool: &Pool,
        rows: usize,
        cols: usize,
        scale: f32,
        fill: impl Fn(usize, &mut [i8]) -> Result<(), E> + Sync,
    ) -> Result<Self, E>;
}

impl Pack for TernaryMatrix {
    fn pack<E: Send>(
        pool: &Pool,
        rows: usize,
        cols: usize,
        scale: f32,
        fill: impl Fn(usize, &mut [i8]) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        Self::pack(pool, rows, cols, scale, fill)
    }
}

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
    };
}

thread_local! {
    static TILES: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// The product of a whole matrix, as `ternary::matmul` gives it, from `count` tiles at a time that
/// `rearrange(first tile, tiles)` writes.
pub(crate) fn product_of_tiles(
    cpu: &Cpu,
    (rows, cols, scale): (usize, usize, f32),
    x: &Activations,
    count: usize,
    rearrange: impl Fn(usize, &mut [u8]) + Sync,
) -> Rows {
    assert_eq!(x.cols(), cols, "matrix and activations have the same input width");
    let mut out = Rows::unwritten(x.rows(), rows);
    let at = SendPtr(out.data_mut().as_mut_ptr());
    let (groups, codes_of_x) = (cols.div_ceil(16), x.arranged(cpu));
    let most = (cpu.set.cut)(x.rows(), cols).tokens.1.min(x.rows()).max(1);
    cpu.pool.run(rows.div_ceil(count * TILE), |chunk| {
        let first = chunk * count;
        let tiles = count.min(rows.div_ceil(TILE) - first);
        let mut sums = vec![0; x.rows() * tiles * TILE];
        TILES.with_borrow_mut(|kept| {
            if kept.as_ref().is_none_or(|lines| lines.len() < count * groups) {
                *kept = Some(Lines::zeroed(count * groups));
            }
            let Some(lines) = kept else { return };
            let lines = &mut lines.bytes_mut()[..count * groups * LINE];
            rearrange(first, lines);
            let codes = &lines[..tiles * groups * LINE];
            for (i, sums) in sums.chunks_mut(most * tiles * TILE).enumerate() {
                let tokens = i * most..x.rows().min((i + 1) * most);
                cpu.set.ternary_dot(codes, groups, codes_of_x.tokens(tokens, groups * 16), sums);
            }
        });
        let kept = (tiles * TILE).min(rows - first * TILE);
        for (t, sums) in sums.chunks_exact(tiles * TILE).enumerate() {
            // SAFETY: token t and outputs first · 16 .. + kept ≤ rows; the chunks are disjoint ranges of outputs.
            let out = unsafe { std::slice::from_raw_parts_mut(at.get().add(t * rows + first * TILE), kept) };
            finish(out, sums, x.sums()[t], scale / x.scales()[t]);
        }
    });
    out
}

/// Sums of codes to outputs: codes are trits + 1, so the sum of the activations is one too many.
pub(crate) fn finish(out: &mut [f32], sums: &[i32], sum: i32, scale: f32) {
    for (out, dot) in out.iter_mut().zip(sums) {
        *out = (dot - sum) as f32 * scale;
    }
}

/// Sets what is not positive to zero and returns where the positive values are, in order.
pub fn relu(x: &mut [f32]) -> Vec<u32> {
    let positive = places(x.len(), |i| x[i] > 0.0);
    for x in x {
        *x = if *x > 0.0 { *x } else { 0.0 };
    }
    positive
}

/// Where codes are not zero, in order.
pub fn nonzero(codes: &[i8]) -> Vec<u32> {
    places(codes.len(), |i| codes[i] != 0)
}

#[inline(always)]
fn places(len: usize, keep: impl Fn(usize) -> bool) -> Vec<u32> {
    let mut places = vec![0; len];
    let mut n = 0;
    for i in 0..len {
        // Always written, kept if wanted: no branch that is taken at random.
        places[n] = i as u32;
        n += usize::from(keep(i));
    }
    places.truncate(n);
    places
}
