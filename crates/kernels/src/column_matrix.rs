//! A ternary matrix of which single columns are read. `op/sparse.rs` draws the layout of a column.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::activations::Activations;
use crate::cpu::Cpu;
use crate::lines::{self, LINE, Line, Lines};
use crate::op::sparse::{Columns, GROUP, OUTPUTS};
use crate::pool::{Pool, SendPtr};
use crate::rows::Rows;
use crate::sparse::Wanted;
use crate::ternary::{self, FirstError, Packed, TILE};

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

impl Packed for ColumnMatrix {
    const STEP: usize = OUTPUTS / TILE;

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

    fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    fn scale(&self) -> f32 {
        self.scale
    }

    fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }

    fn tiles<'a>(&'a self, cpu: &Cpu, tiles: Range<usize>, scratch: &'a mut Vec<Line>) -> &'a [u8] {
        let (stride, groups) = (self.column_bytes(), self.cols.div_ceil(16));
        let (first, blocks) = (tiles.start / Self::STEP, tiles.len().div_ceil(Self::STEP));
        let scratch = lines::written(scratch, blocks * Self::STEP * groups);
        for (i, tiles) in scratch.chunks_exact_mut(Self::STEP * groups * LINE).enumerate() {
            cpu.isa.columns_to_tiles(&self.lines.bytes()[(first + i) * LINE..], stride, tiles);
        }
        &scratch[..tiles.len() * groups * LINE]
    }
}

impl ColumnMatrix {
    /// Bytes that one column takes.
    pub fn column_bytes(&self) -> usize {
        self.rows.div_ceil(OUTPUTS) * LINE
    }

    /// The product as `ternary::matmul` gives it, read from the columns that each token wants: those of all codes that
    /// are not zero, and perhaps others.
    pub fn product(&self, cpu: &Cpu, x: &Activations, wanted: &Wanted) -> Rows {
        assert_eq!((x.rows(), x.cols()), (wanted.len(), self.cols), "as many tokens, the matrix's input width");
        if !wanted.one_by_one(cpu, self.cols) {
            let [y] = ternary::matmul(cpu, &[self], x).try_into().expect("one result a matrix");
            return y;
        }
        let width = 4 * self.column_bytes();
        // Threads that share a token add up columns of their own: the sums are exact, so their order does not matter.
        let slots = (cpu.pool.threads() / x.rows()).max(1);
        let mut sums = vec![0i32; x.rows() * slots * width];
        let cursors: Vec<_> = (0..x.rows()).map(|_| AtomicUsize::new(0)).collect();
        cpu.pool.pieces(&mut sums, width, |i, sums| {
            self.add(cpu, x.row(i / slots), &wanted[i / slots], &cursors[i / slots], sums)
        });
        let mut out = Rows::unwritten(x.rows(), self.rows);
        let at = SendPtr(sums.as_mut_ptr());
        cpu.pool.pieces(out.data_mut(), self.rows, |t, out| {
            // SAFETY: the sums of token t, which this piece alone looks at.
            let sums = unsafe { std::slice::from_raw_parts_mut(at.get().add(t * slots * width), slots * width) };
            let (first, others) = sums.split_at_mut(width);
            for other in others.chunks_exact(width) {
                first.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
            }
            if cpu.isa.columns_scaled() {
                for (i, sums) in first.chunks_exact_mut(16).enumerate() {
                    sums.iter_mut().for_each(|sum| *sum >>= 2 * (i % 4));
                }
            }
            ternary::finish(out, first, x.sums()[t], self.scale / x.scales()[t]);
        });
        out
    }

    /// Adds up the columns of a token that nobody has claimed yet.
    fn add(&self, cpu: &Cpu, x: &[i8], wanted: &[u32], cursor: &AtomicUsize, sums: &mut [i32]) {
        let claim = || {
            let start = cursor.fetch_add(GROUP, Ordering::Relaxed).min(wanted.len());
            &wanted[start..(start + GROUP).min(wanted.len())]
        };
        let mut picked = claim();
        while !picked.is_empty() {
            // Claimed ahead, so that it can be prefetched.
            let next = claim();
            let mut codes = [0; GROUP];
            for (code, &column) in codes.iter_mut().zip(picked) {
                *code = x[column as usize];
            }
            let these = Columns { picked, codes: &codes[..picked.len()], next };
            cpu.isa.columns_dot(self.lines.bytes(), self.column_bytes(), &these, sums);
            picked = next;
        }
    }
}
