//! Layout by rows, so that single rows can be read. `op/sparse.rs` describes the layout of a row.

use std::ops::Range;

use super::{Layout, LayoutKind, Source};
use crate::activations::Activations;
use crate::cpu::Cpu;
use crate::finish::Finish;
use crate::lines::{self, LINE, Line, Lines};
use crate::op::sparse::{COLS, arrange, pack_row, row_code};
use crate::op::ternary::{MAX_COLS, TILE};
use crate::pool::SendPtr;
use crate::rows::Rows;
use crate::sparse::{Indices, Part};

/// Matrices stored row by row, for products with few needed outputs.
pub static ROWS: LayoutKind =
    LayoutKind { name: "rows", max_cols: MAX_COLS, pack: |source| Box::new(ByRow::pack(source)) };

struct ByRow {
    rows: usize,
    cols: usize,
    /// Rows padded to whole lines; their number is padded to a multiple of 16.
    lines: Lines,
}

impl ByRow {
    fn pack(source: &Source<'_>) -> Self {
        let (rows, cols, stride) = (source.rows, source.cols, source.cols.div_ceil(COLS));
        let mut lines = Lines::zeroed(rows.next_multiple_of(TILE) * stride);
        source.pool.pieces(&mut lines, (TILE * stride).max(1), |piece, lines| {
            source.codes(piece, piece * TILE..(piece + 1) * TILE, |row, codes| {
                pack_row(codes, &mut lines[row * stride..]);
            });
        });
        Self { rows, cols, lines }
    }

    /// Bytes per row.
    fn stride(&self) -> usize {
        self.cols.div_ceil(COLS) * LINE
    }

    /// Computes the outputs that each token needs; the others are 0.
    fn some(&self, cpu: &Cpu, x: &Activations, needed: &Indices, finish: &Finish) -> Rows {
        let stride = self.stride();
        let mut codes = vec![0; x.rows() * 4 * stride];
        cpu.pool.pieces(&mut codes, 4 * stride, |t, codes| arrange(x.row(t), codes));
        let mut out = Rows::zeros(x.rows(), self.rows);
        let at = SendPtr(out.data_mut().as_mut_ptr());
        // Few chunks, because the first rows of each are not prefetched.
        let parts = (4 * cpu.pool.threads()).div_ceil(x.rows());
        cpu.pool.run(x.rows() * parts, |i| {
            let (t, part) = (i / parts, i % parts);
            let span = needed[t].len().div_ceil(parts).next_multiple_of(4).max(4);
            let Some(picked) = needed[t].chunks(span).nth(part) else { return };
            let (mut sums, mut y) = (vec![0; picked.len()], vec![0.0; picked.len()]);
            cpu.isa.rows_dot(self.lines.bytes(), stride, picked, &codes[t * 4 * stride..][..4 * stride], &mut sums);
            let offset = x.sums()[t];
            finish.picked(picked, &sums, |sum| (sum - offset) as f32, x.scales()[t], &mut y);
            for (&row, y) in picked.iter().zip(y) {
                assert!((row as usize) < self.rows);
                // SAFETY: output `row` of token t exists. The indices of a token are in order and differ, and its parts
                // are disjoint.
                unsafe { *at.get().add(t * self.rows + row as usize) = y };
            }
        });
        out
    }
}

impl Layout for ByRow {
    fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }

    fn step(&self) -> usize {
        1
    }

    fn tiles<'a>(&'a self, cpu: &Cpu, tiles: Range<usize>, scratch: &'a mut Vec<Line>) -> &'a [u8] {
        let (stride, groups) = (self.stride(), self.cols.div_ceil(16));
        let rows = self.lines.bytes()[tiles.start * TILE * stride..].chunks_exact(TILE * stride);
        let scratch = lines::written(scratch, tiles.len() * groups);
        for (rows, tile) in rows.zip(scratch.chunks_exact_mut(groups * LINE)) {
            cpu.isa.rows_to_tile(rows, stride, tile);
        }
        scratch
    }

    fn trits(&self, row: usize, out: &mut [i8]) {
        let row = &self.lines.bytes()[row * self.stride()..][..self.stride()];
        for (k, out) in out.iter_mut().enumerate() {
            *out = row_code(row, k) as i8 - 1;
        }
    }

    fn part_bytes(&self) -> Option<usize> {
        Some(self.stride())
    }

    fn product(&self, cpu: &Cpu, x: &Activations, part: Part<'_>, finish: &Finish) -> Option<Rows> {
        let Part::Rows(needed) = part else { return None };
        let alone = needed.one_by_one(cpu, self.rows);
        alone.then(|| self.some(cpu, x, needed, finish))
    }
}
