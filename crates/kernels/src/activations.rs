//! Activations of ternary layers: int8 with one scale per token, as BitNet models are trained.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;

use crate::cpu::Cpu;
use crate::lines::{LINE, Line};
use crate::op;
use crate::op::operand::{Operand, Order, arrange};
use crate::pool::{Pool, SendPtr};
use crate::rows::Rows;

/// The codes of all rows in the order that a set reads.
pub(crate) struct Arranged<'a> {
    codes: Codes<'a>,
    order: Order,
    tokens: usize,
    depth: usize,
}

enum Codes<'a> {
    /// Unpadded order.
    Values(Cow<'a, [i8]>),
    /// Padded; a row of a tile is a cache line.
    Lines(Vec<Line>),
}

impl Arranged<'_> {
    /// These tokens as an operand. They begin with a block of the order, and end with a block or with the last token.
    pub(crate) fn tokens(&self, tokens: Range<usize>) -> Operand<'_> {
        let Self { order, depth, .. } = *self;
        assert!(tokens.start.is_multiple_of(order.tokens) && tokens.end <= self.tokens, "whole blocks");
        assert!(tokens.end.is_multiple_of(order.tokens) || tokens.end == self.tokens, "whole blocks");
        let codes = match &self.codes {
            Codes::Values(codes) => codes,
            Codes::Lines(lines) => {
                // SAFETY: `Line` is 64 plain bytes without padding, and all bytes are values of `i8`.
                unsafe { std::slice::from_raw_parts(lines.as_ptr().cast::<i8>(), lines.len() * LINE) }
            }
        };
        let first = tokens.start * order.stride(depth);
        let codes = &codes[first..][..order.len(tokens.len(), depth)];
        Operand { codes, order, tokens: tokens.len(), depth }
    }
}

thread_local! {
    /// Buffer for a row between two operations.
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

    /// The largest magnitude `max(max|x|, 1e-5)` of each row. For a row divided into shards, it is the greatest of the
    /// shards' values.
    pub fn largest(cpu: &Cpu, x: &Rows) -> Vec<f32> {
        let mut largest = vec![0.0; x.len()];
        cpu.pool.pieces(&mut largest, 1, |row, largest| largest[0] = cpu.isa.largest(x.row(row)));
        largest
    }

    /// Quantises each row like [`Activations::quantize`], with a given largest magnitude. For shards of rows, whose
    /// largest magnitude may be in another shard.
    ///
    /// # Panics
    ///
    /// If there is not one magnitude for each row.
    pub fn quantize_shard(cpu: &Cpu, x: &Rows, largest: &[f32]) -> Self {
        assert_eq!(largest.len(), x.len(), "a magnitude for each row");
        Self::build(x.len(), x.dim(), &cpu.pool, |row, codes| {
            let scale = op::quantize::scale(largest[row]);
            (scale, cpu.isa.quantize_by(x.row(row), scale, codes))
        })
    }

    /// The codes of the rows' norm, which is not kept: `quantize(rms_norm(x))`.
    ///
    /// # Panics
    /// If `weight` does not have one value for each feature of `x`.
    pub fn normed(cpu: &Cpu, x: &Rows, weight: &[f32], eps: f32) -> Self {
        assert_eq!(x.dim(), weight.len(), "one weight for each feature");
        Self::build(x.len(), x.dim(), &cpu.pool, |row, codes| {
            ROW.with_borrow_mut(|normed| {
                normed.resize(weight.len(), 0.0);
                cpu.isa.rms_norm(x.row(row), weight, eps, normed);
                cpu.isa.quantize(normed, codes)
            })
        })
    }

    /// `quantize(rms_norm(relu(gate)² · up))`
    ///
    /// # Panics
    ///
    /// If the shapes differ, or `weight` does not have one value for each feature.
    pub fn gated(cpu: &Cpu, gate: &Rows, up: &Rows, weight: &[f32], eps: f32) -> Self {
        assert_eq!(
            (gate.len(), gate.dim(), gate.dim()),
            (up.len(), up.dim(), weight.len()),
            "one weight for each feature"
        );
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

    /// `quantize` writes the codes of a row, and returns its scale and the sum of the codes.
    fn build(rows: usize, cols: usize, pool: &Pool, quantize: impl Fn(usize, &mut [i8]) -> (f32, i32) + Sync) -> Self {
        let stride = cols.next_multiple_of(16);
        let mut codes = vec![0; rows * stride];
        let (mut scales, mut sums) = (vec![0.0; rows], vec![0; rows]);
        let (scales_at, sums_at) = (SendPtr(scales.as_mut_ptr()), SendPtr(sums.as_mut_ptr()));
        pool.pieces(&mut codes, stride, |row, codes| {
            let (scale, sum) = quantize(row, &mut codes[..cols]);
            // SAFETY: each row is one piece of work, so each index is written by one thread; both have `rows` elements.
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
    ///
    /// # Panics
    /// If there is no row `i`.
    pub fn row(&self, i: usize) -> &[i8] {
        &self.codes[i * self.stride()..][..self.cols]
    }

    /// All codes, row by row, [`Self::stride`] apart.
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

    /// All codes in the order that the set reads, each row padded with zeros to a multiple of 16.
    pub(crate) fn arranged(&self, cpu: &Cpu) -> Arranged<'_> {
        let (order, tokens, depth) = (cpu.isa.order(self.rows()), self.rows(), self.stride());
        let rows = |block: usize| {
            let end = tokens.min((block + 1) * order.tokens);
            &self.codes[block * order.tokens * depth..end * depth]
        };
        let block = order.tokens * order.stride(depth);
        let codes = if order.padded {
            let mut lines = vec![Line([0; LINE]); order.len(tokens, depth).div_ceil(LINE)];
            assert!(block.is_multiple_of(LINE), "padded blocks are whole cache lines");
            cpu.pool.pieces(&mut lines, block / LINE, |i, lines| {
                // SAFETY: `Line` is 64 plain bytes without padding, any bytes make one, and all are values of `i8`.
                let out =
                    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast::<i8>(), lines.len() * LINE) };
                arrange(order, rows(i), depth, out);
            });
            Codes::Lines(lines)
        } else if tokens == 1 || order == Order::ROWS {
            Codes::Values((&self.codes).into())
        } else {
            let mut codes = vec![0; self.codes.len()];
            cpu.pool.pieces(&mut codes, block, |i, out| arrange(order, rows(i), depth, out));
            Codes::Values(codes.into())
        };
        Arranged { codes, order, tokens, depth }
    }

    pub(crate) fn stride(&self) -> usize {
        self.cols.next_multiple_of(16)
    }
}
