//! A ternary matrix of which single columns are read.
//!
//! ```text
//! column: stride bytes, one line of 64 for every 256 outputs
//! line:   byte 16 L + 4 u + i, bits 2f + 1 … 2f ↔ output 64 u + 16 f + 4 L + i      (L, u, i, f = 0 … 3)
//! ```
//!
//! Four columns interleaved byte by byte within 128-bit lanes (`punpck`: L stays, u is the quarter) and masked to field
//! f are 16 outputs in order, each a dword of four codes: what `vpdpbusd` multiplies with the four activations.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::activations::Activations;
use crate::lines::{LINE, Lines};
use crate::pool::{Pool, SendPtr};
use crate::rows::Rows;
use crate::set::Cpu;
use crate::sparse::{self, Columns, GROUP, Pack};
use crate::ternary::{FirstError, TILE};

/// Outputs of a line.
const OUTPUTS: usize = 256;
/// Most columns of a matrix: 64 · 2 · −128 · columns, the largest sum of a field that is not shifted, fits an `i32`.
pub const MAX_COLUMNS: usize = 1 << 17;

/// A `(rows, cols)` matrix of −1, 0, +1 with one scale, packed by columns.
pub struct ColumnMatrix {
    rows: usize,
    cols: usize,
    scale: f32,
    /// Columns padded to whole lines, their number to a multiple of 16.
    lines: Lines,
}

/// The code of an output in a column; the definition of the layout.
#[inline(always)]
pub(crate) fn code(column: &[u8], output: usize) -> u8 {
    let (u, f, l) = (output / 64 % 4, output / 16 % 4, output % 16);
    column[output / OUTPUTS * LINE + 16 * (l / 4) + 4 * u + l % 4] >> (2 * f) & 3
}

impl Pack for ColumnMatrix {
    fn pack<E: Send>(
        pool: &Pool,
        rows: usize,
        cols: usize,
        scale: f32,
        fill: impl Fn(usize, &mut [i8]) -> Result<(), E> + Sync,
    ) -> Result<Self, E> {
        assert!(cols <= MAX_COLUMNS, "a matrix packed by columns has at most {MAX_COLUMNS} columns");
        let stride = rows.div_ceil(OUTPUTS);
        let mut lines = Lines::zeroed(cols.next_multiple_of(TILE) * stride);
        let at = SendPtr(lines.as_mut_ptr());
        let failure = FirstError::new();
        // A piece of work is 16 bytes (a 128-bit lane L) of one line of every column: 64 rows.
        pool.run(4 * stride, |piece| {
            let (block, lane) = (piece / 4, piece % 4);
            let (mut trits, mut bytes) = (vec![0i8; cols], vec![0u8; 16 * cols]);
            for (i, bytes) in bytes.chunks_exact_mut(cols.max(1)).enumerate() {
                for f in 0..4 {
                    let row = OUTPUTS * block + 64 * (i / 4) + 16 * f + 4 * lane + i % 4;
                    if row >= rows {
                        break;
                    }
                    if let Err(error) = fill(row, &mut trits) {
                        return failure.keep(piece, error);
                    }
                    for (byte, trit) in bytes.iter_mut().zip(&trits) {
                        *byte |= ((trit + 1) as u8 & 3) << (2 * f);
                    }
                }
            }
            for column in 0..cols {
                // SAFETY: line `block` of the column; no other piece writes these 16 of its bytes.
                let lane = unsafe { &mut *at.get().add(column * stride + block).cast::<[u8; 16]>().add(lane) };
                for (i, byte) in lane.iter_mut().enumerate() {
                    *byte = bytes[i * cols + column];
                }
            }
        });
        failure.or(Self { rows, cols, scale, lines })
    }
}

impl ColumnMatrix {
    /// Input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }

    /// Bytes that one column takes.
    pub fn column_bytes(&self) -> usize {
        self.rows.div_ceil(OUTPUTS) * LINE
    }

    /// The product with the only token of `x`, as `ternary::matmul` gives it, read from the columns `picked` alone:
    /// those of all codes that are not zero, and perhaps others.
    pub fn product(&self, cpu: &Cpu, x: &Activations, picked: &[u32]) -> Rows {
        assert_eq!((x.rows(), x.cols()), (1, self.cols), "one token of the matrix's input width");
        let stride = self.column_bytes();
        let codes: Vec<i8> = picked.iter().map(|&column| x.row(0)[column as usize]).collect();
        let groups = picked.len().div_ceil(GROUP);
        // Every thread adds up columns of its own: the sums are exact, so their order does not matter.
        let slots = cpu.pool.threads().min(groups).max(1);
        let mut sums = vec![0i32; slots * 4 * stride];
        let cursor = AtomicUsize::new(0);
        let claim = || {
            let start = cursor.fetch_add(GROUP, Ordering::Relaxed).min(picked.len());
            start..(start + GROUP).min(picked.len())
        };
        cpu.pool.pieces(&mut sums, 4 * stride, |_, sums| {
            let mut group = claim();
            while !group.is_empty() {
                // Claimed ahead, so that it can be prefetched.
                let next = claim();
                let these =
                    Columns { picked: &picked[group.clone()], codes: &codes[group], next: &picked[next.clone()] };
                cpu.set.columns_dot(self.lines.bytes(), stride, &these, sums);
                group = next;
            }
        });
        let mut out = Rows::unwritten(1, self.rows);
        let (first, others) = sums.split_at_mut(4 * stride);
        for other in others.chunks_exact(4 * stride) {
            first.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
        }
        if cpu.set.sparse.scaled {
            for (i, sums) in first.chunks_exact_mut(16).enumerate() {
                sums.iter_mut().for_each(|sum| *sum >>= 2 * (i % 4));
            }
        }
        sparse::finish(out.data_mut(), first, x.sums()[0], self.scale / x.scales()[0]);
        out
    }

    /// The product with every column, for any number of tokens: the same bytes as `ternary::matmul`.
    pub fn matmul(&self, cpu: &Cpu, x: &Activations) -> Rows {
        if x.rows() == 1 {
            let all: Vec<u32> = (0..self.cols as u32).collect();
            return self.product(cpu, x, &all);
        }
        let (bytes, stride) = (self.lines.bytes(), self.column_bytes());
        sparse::product_of_tiles(cpu, (self.rows, self.cols, self.scale), x, OUTPUTS / TILE, |first, tiles| {
            cpu.set.columns_to_tiles(&bytes[first / TILE * LINE..], stride, tiles);
        })
    }
}
