//! Activations as a ternary layer reads them: int8 with one scale a token, as BitNet models are trained.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

use crate::cpu::Cpu;
use crate::lines::{LINE, Line};
use crate::op::ternary::Order;
use crate::pool::{Pool, SendPtr};
use crate::rows::Rows;

/// Activations in an [`Order`].
pub(crate) enum Arranged<'a> {
    /// As many values as the rows have.
    Rows(Cow<'a, [i8]>),
    /// `Order::Tiles`.
    Tiles(Vec<Line>),
}

impl Arranged<'_> {
    /// Rows of `stride` values in [`Order::Tiles`].
    pub(crate) fn tiles(pool: &Pool, rows: &[i8], stride: usize) -> Self {
        let (tokens, depth) = (rows.len() / stride, stride.div_ceil(LINE));
        let mut out = vec![Line([0; LINE]); tokens.next_multiple_of(16) * depth];
        pool.pieces(&mut out, 16 * depth, |i, out| {
            let rows = &rows[16 * i * stride..tokens.min(16 * i + 16) * stride];
            for (t, row) in rows.chunks_exact(stride).enumerate() {
                for (codes, line) in row.chunks(LINE).zip(out[t..].iter_mut().step_by(16)) {
                    for (byte, code) in line.0.iter_mut().zip(codes) {
                        *byte = *code as u8;
                    }
                }
            }
        });
        Self::Tiles(out)
    }

    /// What belongs to these tokens of `depth` values each; they start at a whole block or tile.
    pub(crate) fn tokens(&self, tokens: Range<usize>, depth: usize) -> &[i8] {
        match self {
            Self::Rows(codes) => &codes[tokens.start * depth..tokens.end * depth],
            Self::Tiles(lines) => {
                let lines = &lines[tokens.start * depth.div_ceil(LINE)..];
                let lines = &lines[..tokens.len().next_multiple_of(16) * depth.div_ceil(LINE)];
                // SAFETY: `Line` is 64 plain bytes without padding, and all bytes are values of `i8`.
                unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LINE) }
            }
        }
    }
}

thread_local! {
    /// Rows between two operations on them.
    static ROW: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// int8 rows `(token, feature)`, each with its scale and the sum of its codes.
#[derive(Clone, Debug, PartialEq)]
pub struct Activations {
    cols: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Activations {
    /// Quantises each row: `s = 127 / max(max|x|, 1e-5)`, codes `clamp(round_half_even(x·s), −128, 127)`
    /// (the rule of BitNet b1.58's `BitLinear`, in `f32`).
    pub fn quantize(cpu: &Cpu, x: &Rows) -> Self {
        Self::build(x.len(), x.dim(), &cpu.pool, |row, codes| cpu.isa.quantize(x.row(row), codes))
    }

    /// The same of the rows' norm, without keeping that: `quantize(rms_norm(x))`.
    pub fn normed(cpu: &Cpu, x: &Rows, weight: &[f32], eps: f32) -> Self {
        assert_eq!(x.dim(), weight.len(), "one weight a feature");
        Self::build(x.len(), x.dim(), &cpu.pool, |row, codes| {
            ROW.with_borrow_mut(|normed| {
                normed.resize(weight.len(), 0.0);
                cpu.isa.rms_norm(x.row(row), weight, eps, normed);
                cpu.isa.quantize(normed, codes)
            })
        })
    }

    /// `quantize(rms_norm(relu(gate)² · up))`
    pub fn gated(cpu: &Cpu, gate: &Rows, up: &Rows, weight: &[f32], eps: f32) -> Self {
        assert_eq!((gate.len(), gate.dim(), gate.dim()), (up.len(), up.dim(), weight.len()), "one weight a feature");
        Self::build(gate.len(), gate.dim(), &cpu.pool, |row, codes| {
            ROW.with_borrow_mut(|rows| {
                rows.resize(2 * weight.len(), 0.0);
                let (gated, normed) = rows.split_at_mut(weight.len());
                gated.copy_from_slice(gate.row(row));
                cpu.isa.relu2_mul(gated, up.row(row));
                cpu.isa.rms_norm(gated, weight, eps, normed);
                cpu.isa.quantize(normed, codes)
            })
        })
    }

    /// `quantize` writes the codes of a row and gives its scale and their sum.
    fn build(rows: usize, cols: usize, pool: &Pool, quantize: impl Fn(usize, &mut [i8]) -> (f32, i32) + Sync) -> Self {
        let stride = cols.next_multiple_of(16);
        let mut codes = vec![0; rows * stride];
        let (mut scales, mut sums) = (vec![0.0; rows], vec![0; rows]);
        let (scales_at, sums_at) = (SendPtr(scales.as_mut_ptr()), SendPtr(sums.as_mut_ptr()));
        pool.pieces(&mut codes, stride, |row, codes| {
            let (scale, sum) = quantize(row, &mut codes[..cols]);
            // SAFETY: each row is one piece, so each index is written by one thread; both have `rows` elements.
            unsafe {
                *scales_at.get().add(row) = scale;
                *sums_at.get().add(row) = sum;
            }
        });
        Self { cols, codes, scales, sums }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Features in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The codes of row `i`.
    pub fn row(&self, i: usize) -> &[i8] {
        &self.codes[i * self.stride()..][..self.cols]
    }

    /// All codes, row after row, [`Self::stride`] apart.
    pub(crate) fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// The multiplier `s` of each row: code = round(x · s).
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Sum of the codes of each row.
    pub fn sums(&self) -> &[i32] {
        &self.sums
    }

    /// All codes in the order that a set's kernels read, each row padded with zeros to a multiple of 16.
    pub(crate) fn arranged(&self, cpu: &Cpu) -> Arranged<'_> {
        match cpu.isa.order(self.rows()) {
            Order::Interleaved(tokens) if self.rows() > 1 => Arranged::Rows(self.interleaved(cpu, tokens).into()),
            Order::Interleaved(_) | Order::Rows => Arranged::Rows((&self.codes).into()),
            Order::Tiles => Arranged::tiles(&cpu.pool, &self.codes, self.stride()),
        }
    }

    fn interleaved(&self, cpu: &Cpu, block: usize) -> Vec<i8> {
        let stride = self.stride();
        let mut out = vec![0; self.codes.len()];
        cpu.pool.pieces(&mut out, block * stride, |i, out| {
            let tokens = out.len() / stride;
            let rows = &self.codes[i * block * stride..][..out.len()];
            for (t, row) in rows.chunks_exact(stride).enumerate() {
                for (dword, out) in row.chunks_exact(4).zip(out[4 * t..].chunks_mut(4 * tokens)) {
                    out[..4].copy_from_slice(dword);
                }
            }
        });
        out
    }

    pub(crate) fn stride(&self) -> usize {
        self.cols.next_multiple_of(16)
    }
}
