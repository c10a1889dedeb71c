//! A ternary matrix of which single rows are read. `op/sparse.rs` draws the layout of a row.

use std::ops::Range;

use crate::activations::Activations;
use crate::cpu::Cpu;
use crate::lines::{self, LINE, Line, Lines};
use crate::op::sparse::{COLS, arrange};
use crate::op::ternary::lane;
use crate::pool::{Pool, SendPtr};
use crate::rows::Rows;
use crate::sparse::Wanted;
use crate::ternary::{self, FirstError, MAX_COLS, Packed, TILE};

/// A `(rows, cols)` matrix of −1, 0, +1 with one scale, packed by rows.
pub struct RowMatrix {
    rows: usize,
    cols: usize,
    scale: f32,
    /// Rows padded to whole lines, their number to a multiple of 16.
    lines: Lines,
}

/// Packs codes (0 … 3; padded to a multiple of 16) into the lines of a row.
pub(crate) fn pack_row(codes: &[u8], row: &mut [Line]) {
    for (g, codes) in codes.as_chunks::<16>().0.iter().enumerate() {
        row[g / 16].0[g % 16 * 4..][..4].copy_from_slice(&lane(codes));
    }
}

impl Packed for RowMatrix {
    const STEP: usize = 1;

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
                pack_row(&codes, row);
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
        let (stride, groups) = (self.row_bytes(), self.cols.div_ceil(16));
        let rows = self.lines.bytes()[tiles.start * TILE * stride..].chunks_exact(TILE * stride);
        let scratch = lines::written(scratch, tiles.len() * groups);
        for (rows, tile) in rows.zip(scratch.chunks_exact_mut(groups * LINE)) {
            cpu.isa.rows_to_tile(rows, stride, tile);
        }
        scratch
    }
}

impl RowMatrix {
    /// Bytes that one row takes.
    pub fn row_bytes(&self) -> usize {
        self.cols.div_ceil(COLS) * LINE
    }

    /// The product as `ternary::matmul` gives it, of each token with the rows it wants; other outputs may be 0 instead.
    pub fn product(&self, cpu: &Cpu, x: &Activations, wanted: &Wanted) -> Rows {
        assert_eq!((x.rows(), x.cols()), (wanted.len(), self.cols), "as many tokens, the matrix's input width");
        if !wanted.one_by_one(cpu, self.rows) {
            let [y] = ternary::matmul(cpu, &[self], x).try_into().expect("one result a matrix");
            return y;
        }
        let stride = self.row_bytes();
        let mut codes = vec![0; x.rows() * 4 * stride];
        cpu.pool.pieces(&mut codes, 4 * stride, |t, codes| arrange(x.row(t), codes));
        let mut out = Rows::zeros(x.rows(), self.rows);
        let at = SendPtr(out.data_mut().as_mut_ptr());
        // Few pieces of work: each begins with rows that nobody asked for in advance.
        let parts = (4 * cpu.pool.threads()).div_ceil(x.rows());
        cpu.pool.run(x.rows() * parts, |i| {
            let (t, part) = (i / parts, i % parts);
            let span = wanted[t].len().div_ceil(parts).next_multiple_of(4).max(4);
            let Some(picked) = wanted[t].chunks(span).nth(part) else { return };
            let (mut sums, mut y) = (vec![0; picked.len()], vec![0.0; picked.len()]);
            cpu.isa.rows_dot(self.lines.bytes(), stride, picked, &codes[t * 4 * stride..][..4 * stride], &mut sums);
            ternary::finish(&mut y, &sums, x.sums()[t], self.scale / x.scales()[t]);
            for (&row, y) in picked.iter().zip(y) {
                assert!((row as usize) < self.rows);
                // SAFETY: output `row` of token t; the places of a token differ (they are in order), as do its pieces.
                unsafe { *at.get().add(t * self.rows + row as usize) = y };
            }
        });
        out
    }
}
