//! A ternary matrix of which single rows are read.
//!
//! ```text
//! row:    stride bytes, whole lines of 64
//! line:   dword g = the 16 columns 16 g … of a tile's lane: byte b, bits 2f + 1 … 2f ↔ column k = 16 g + 4 f + b
//! ```
//!
//! So 16 rows are a tile but for a transposition of dwords, and a line masked to field f is 64 columns, which one piece
//! of the activations holds in the same order if their dwords are transposed too (`arrange`).

use crate::activations::Activations;
use crate::lines::{LINE, Lines};
use crate::pool::Pool;
use crate::rows::Rows;
use crate::set::Cpu;
use crate::sparse::{self, Pack};
use crate::ternary::{FirstError, MAX_COLS, TILE, lane};

/// Columns of a line.
const COLS: usize = 256;

/// A `(rows, cols)` matrix of −1, 0, +1 with one scale, packed by rows.
pub struct RowMatrix {
    rows: usize,
    cols: usize,
    scale: f32,
    /// Rows padded to whole lines, their number to a multiple of 16.
    lines: Lines,
}

/// The code of column k of a row; the definition of the layout.
#[inline(always)]
pub(crate) fn code(row: &[u8], k: usize) -> u8 {
    row[k / 16 * 4 + k % 4] >> (2 * (k / 4 % 4)) & 3
}

/// Where [`arrange`] puts the activation of column k.
#[inline(always)]
pub(crate) fn place(k: usize) -> usize {
    k / COLS * COLS + k / 4 % 4 * LINE + k % COLS / 16 * 4 + k % 4
}

/// The activations in the order of fields: of every 256, field 0 of all dwords, then field 1, …
fn arrange(x: &[i8], stride: usize) -> Vec<i8> {
    let mut out = vec![0; 4 * stride];
    for (i, dword) in x.chunks(4).enumerate() {
        out[place(4 * i)..][..dword.len()].copy_from_slice(dword);
    }
    out
}

impl Pack for RowMatrix {
    fn pack<E: Send>(
        pool: &Pool,
        rows: usize,
        cols: usize,
        scale: f32,
        fill: impl Fn(usize, &mut [i8]) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        assert!(cols <= MAX_COLS, "a matrix has at most {MAX_COLS} columns");
        let stride = cols.div_ceil(COLS);
        let mut lines = Lines::zeroed(rows.next_multiple_of(TILE) * stride);
        let failure = FirstError::new();
        pool.pieces(&mut lines, (TILE * stride).max(1), |piece, lines| {
            let (mut trits, mut codes) = (vec![0i8; cols], vec![0u8; cols.next_multiple_of(16)]);
            for (i, row) in lines.chunks_exact_mut(stride).enumerate().take(rows - piece * TILE) {
                if let Err(error) = fill(piece * TILE + i, &mut trits) {
                    return failure.keep(piece, error);
                }
                for (code, trit) in codes.iter_mut().zip(&trits) {
                    *code = (trit + 1) as u8 & 3;
                }
                for (g, codes) in codes.as_chunks::<16>().0.iter().enumerate() {
                    row[g / 16].0[g % 16 * 4..][..4].copy_from_slice(&lane(codes));
                }
            }
        });
        failure.or(Self { rows, cols, scale, lines })
    }
}

impl RowMatrix {
    /// Output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }

    /// Bytes that one row takes.
    pub fn row_bytes(&self) -> usize {
        self.cols.div_ceil(COLS) * LINE
    }

    /// Products of the rows `picked` with the only token of `x`: `y[i]` as `ternary::matmul` gives it for that row.
    /// No other row is read.
    pub fn product(&self, cpu: &Cpu, x: &Activations, picked: &[u32]) -> Vec<f32> {
        assert_eq!((x.rows(), x.cols()), (1, self.cols), "one token of the matrix's input width");
        let stride = self.row_bytes();
        let codes = arrange(x.row(0), stride);
        let (sum, scale) = (x.sums()[0], self.scale / x.scales()[0]);
        let mut out = vec![0.0; picked.len()];
        let span = picked.len().div_ceil(CHUNKS * cpu.pool.threads()).next_multiple_of(4);
        cpu.pool.pieces(&mut out, span, |i, out| {
            let mut sums = vec![0; out.len()];
            let picked = &picked[i * span..][..out.len()];
            cpu.set.rows_dot(self.lines.bytes(), stride, picked, &codes, &mut sums);
            sparse::finish(out, &sums, sum, scale);
        });
        out
    }

    /// The product with every row, for any number of tokens: the same bytes as `ternary::matmul`.
    pub fn matmul(&self, cpu: &Cpu, x: &Activations) -> Rows {
        if x.rows() == 1 {
            let all: Vec<u32> = (0..self.rows as u32).collect();
            return Rows::from_vec(self.rows, self.product(cpu, x, &all));
        }
        let (bytes, stride) = (self.lines.bytes(), self.row_bytes());
        let groups = self.cols.div_ceil(16);
        sparse::product_of_tiles(cpu, (self.rows, self.cols, self.scale), x, TILES, |first, tiles| {
            let rows = bytes[first * TILE * stride..].chunks_exact(TILE * stride);
            for (rows, tile) in rows.zip(tiles.chunks_exact_mut(groups * LINE)) {
                cpu.set.rows_to_tile(rows, stride, tile);
            }
        })
    }
}

/// Pieces of work a thread: few, because each begins with rows that nobody asked for in advance.
const CHUNKS: usize = 4;
/// Tiles rearranged at a time.
const TILES: usize = 8;
