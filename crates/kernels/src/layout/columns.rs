//! Layout by columns, so that single columns can be read. `op/sparse.rs` describes the layout of a column.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Layout, LayoutKind, Source};
use crate::activations::Activations;
use crate::cpu::Cpu;
use crate::finish::Finish;
use crate::lines::{self, LINE, Line, Lines};
use crate::op::sparse::{Columns, GROUP, OUTPUTS, column_code};
use crate::op::ternary::TILE;
use crate::pool::SendPtr;
use crate::rows::Rows;
use crate::sparse::{Indices, Part};

/// Matrices stored column by column, for inputs with many zeros.
///
/// 64 · 2 · −128 · columns, the largest sum of an unshifted field, fits an `i32`.
pub static COLUMNS: LayoutKind =
    LayoutKind { name: "columns", max_cols: 1 << 17, pack: |source| Box::new(ByColumn::pack(source)) };

/// Tiles covered by one line of a column.
const STEP: usize = OUTPUTS / TILE;

struct ByColumn {
    rows: usize,
    cols: usize,
    /// Columns padded to whole lines; their number is padded to a multiple of 16.
    lines: Lines,
}

impl ByColumn {
    fn pack(source: &Source<'_>) -> Self {
        let (rows, cols, stride) = (source.rows, source.cols, source.rows.div_ceil(OUTPUTS));
        let mut lines = Lines::zeroed(cols.next_multiple_of(TILE) * stride);
        let at = SendPtr(lines.as_mut_ptr());
        // A piece of work writes 16 bytes (a 128-bit lane L) of one line of every column: 64 rows.
        source.pool.run(4 * stride, |piece| {
            let (block, lane) = (piece / 4, piece % 4);
            let mut bytes = vec![0u8; 16 * cols];
            let of = |i: usize| OUTPUTS * block + 64 * (i / 16) + 16 * (i % 4) + 4 * lane + i / 4 % 4;
            source.codes(piece, (0..64).map(of), |i, codes| {
                for (byte, code) in bytes[i / 4 * cols..][..cols].iter_mut().zip(codes) {
                    *byte |= code << (2 * (i % 4));
                }
            });
            for column in 0..cols {
                // SAFETY: line `block` of the column exists, and no other piece writes these 16 bytes of it.
                let lane = unsafe { &mut *at.get().add(column * stride + block).cast::<[u8; 16]>().add(lane) };
                for (i, byte) in lane.iter_mut().enumerate() {
                    *byte = bytes[i * cols + column];
                }
            }
        });
        Self { rows, cols, lines }
    }

    /// Bytes per column.
    fn stride(&self) -> usize {
        self.rows.div_ceil(OUTPUTS) * LINE
    }

    /// Multiplies each token with the columns that it needs.
    fn some(&self, cpu: &Cpu, x: &Activations, needed: &Indices, finish: &Finish) -> Rows {
        let width = 4 * self.stride();
        // Threads that share a token have separate sums. The sums are exact, so their order does not matter.
        let slots = (cpu.pool.threads() / x.rows()).max(1);
        let mut sums = vec![0i32; x.rows() * slots * width];
        let cursors: Vec<_> = (0..x.rows()).map(|_| AtomicUsize::new(0)).collect();
        cpu.pool.pieces(&mut sums, width, |i, sums| {
            self.add(cpu, x.row(i / slots), &needed[i / slots], &cursors[i / slots], sums)
        });
        let mut out = Rows::unwritten(x.rows(), self.rows);
        let at = SendPtr(sums.as_mut_ptr());
        cpu.pool.pieces(out.data_mut(), self.rows, |t, out| {
            // SAFETY: the sums of token t exist, and only this piece accesses them.
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
            let offset = x.sums()[t];
            finish.outputs(0, first, |sum| (sum - offset) as f32, x.scales()[t], out);
        });
        out
    }

    /// Adds up columns of a token, claiming them one group after another.
    fn add(&self, cpu: &Cpu, x: &[i8], needed: &[u32], cursor: &AtomicUsize, sums: &mut [i32]) {
        let claim = || {
            let start = cursor.fetch_add(GROUP, Ordering::Relaxed).min(needed.len());
            &needed[start..(start + GROUP).min(needed.len())]
        };
        let mut picked = claim();
        while !picked.is_empty() {
            // Claimed in advance, so that it can be prefetched.
            let next = claim();
            let mut codes = [0; GROUP];
            for (code, &column) in codes.iter_mut().zip(picked) {
                *code = x[column as usize];
            }
            let these = Columns { picked, codes: &codes[..picked.len()], next };
            cpu.isa.columns_dot(self.lines.bytes(), self.stride(), &these, sums);
            picked = next;
        }
    }
}

impl Layout for ByColumn {
    fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }

    fn step(&self) -> usize {
        STEP
    }

    fn tiles<'a>(&'a self, cpu: &Cpu, tiles: Range<usize>, scratch: &'a mut Vec<Line>) -> &'a [u8] {
        let (stride, groups) = (self.stride(), self.cols.div_ceil(16));
        let (first, blocks) = (tiles.start / STEP, tiles.len().div_ceil(STEP));
        let scratch = lines::written(scratch, blocks * STEP * groups);
        for (i, tiles) in scratch.chunks_exact_mut(STEP * groups * LINE).enumerate() {
            cpu.isa.columns_to_tiles(&self.lines.bytes()[(first + i) * LINE..], stride, tiles);
        }
        &scratch[..tiles.len() * groups * LINE]
    }

    fn trits(&self, row: usize, out: &mut [i8]) {
        for (k, out) in out.iter_mut().enumerate() {
            *out = column_code(&self.lines.bytes()[k * self.stride()..], row) as i8 - 1;
        }
    }

    fn part_bytes(&self) -> Option<usize> {
        Some(self.stride())
    }

    fn product(&self, cpu: &Cpu, x: &Activations, part: Part<'_>, finish: &Finish) -> Option<Rows> {
        let Part::Columns(needed) = part else { return None };
        let alone = needed.one_by_one(cpu, self.cols);
        alone.then(|| self.some(cpu, x, needed, finish))
    }
}
