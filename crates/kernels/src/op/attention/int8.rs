//! Attention to the int8 cache: exact integer dot products, with floats only before and after.
//!
//! ```text
//! score(p)  = (Σ code_q · code_k(p)) · scale_k(p) · scale_q                  i32, then two f32 products
//! weight(p) = exp(score − largest) · scale_v(p)                              f32
//! code(p)   = round(weight(p) · 16383 / largest weight) = 128 · high + low   14 bits, two parts of 7
//! out(i)    = (Σ code(p) · code_v(p, i)) · largest weight / 16383            i32, then one f32 product
//! ```
//!
//! Keys and values are stored as code + bias. The bias is 128 for sets that multiply unsigned by signed bytes
//! (`vpdpbusd`), and 0 for sets that multiply signed bytes, like the definitions here. Afterwards the bias times the
//! sum of the other side is subtracted, so every set has the same integers. Nothing overflows, for any context length:
//! a score is at most 255 · 128 · 256 dims < 2²³, and a segment's Σ code · (code_v + 128) is at most 16383 · 255 · 256
//! positions < 2³⁰.

use std::ops::Range;

use super::SEGMENT;
use crate::lines::LINE;
use crate::op::math::ROUND;
use crate::op::softmax::softmax_terms;
use crate::op::vector::{LANES, Vector};

/// The largest weight's code: 14 bits.
const LARGEST: f32 = 16383.0;

/// Stands for the largest weight if no position is attended to, so that dividing by it stays finite.
const TINY: f32 = 1e-30;

/// Products of tiles of 16 lanes with int8 rows: `acc[row · acc_stride + tile · 16 + lane] += Σ line · x`, exact.
///
/// ```text
/// tile = [depth / 4][16 lanes][4] bytes     x row = [depth] i8
/// ```
pub(crate) struct Dots<'a> {
    /// Whole tiles.
    pub lines: &'a [u8],
    /// Number of products in a sum; a multiple of 4.
    pub depth: usize,
    pub x: &'a [i8],
    pub x_stride: usize,
    pub rows: usize,
    pub acc_stride: usize,
    /// Prefetch distance, in bytes after `lines`.
    pub ahead: usize,
}

impl Dots<'_> {
    #[inline(always)]
    pub fn tiles(&self) -> usize {
        self.lines.len() / (self.depth * LANES)
    }

    /// Whether every row and sum lies inside the slices.
    pub fn fits(&self, acc: &[i32]) -> bool {
        let last = self.rows.saturating_sub(1);
        self.depth.is_multiple_of(4)
            && self.lines.len() == self.tiles() * self.depth * LANES
            && last * self.x_stride + self.depth <= self.x.len()
            && last * self.acc_stride + self.tiles() * LANES <= acc.len()
    }
}

/// Exact dot products of tiles with int8 rows, added to `acc`. The tiles' bytes are signed here: the definitions have
/// bias 0.
#[inline(always)]
pub(crate) fn dot<V: Vector>(zeros: V, dots: &Dots<'_>, acc: &mut [i32]) {
    for (i, tile) in dots.lines.chunks_exact(dots.depth * LANES).enumerate() {
        for line in tile.chunks_exact(LINE) {
            zeros.prefetch_scattered(line, dots.ahead);
        }
        for row in 0..dots.rows {
            let x = &dots.x[row * dots.x_stride..][..dots.depth];
            let acc = &mut acc[row * dots.acc_stride + i * LANES..][..LANES];
            for (line, x) in tile.chunks_exact(LINE).zip(x.chunks_exact(4)) {
                for (acc, bytes) in acc.iter_mut().zip(line.chunks_exact(4)) {
                    for b in 0..4 {
                        *acc += i32::from(bytes[b] as i8) * i32::from(x[b]);
                    }
                }
            }
        }
    }
}

/// Converts integer sums back to floats.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scale {
    /// The value of one step of the codes.
    pub step: f32,
    /// The bias times the sum of the codes, which the other side's bias added.
    pub offset: i32,
}

/// Converts the dot products of one query to weights.
pub(crate) struct Terms<'a> {
    pub key_scales: &'a [f32],
    pub value_scales: &'a [f32],
    pub query: Scale,
    /// The bias of the stored codes.
    pub bias: i32,
    /// Positions that the query attends to.
    pub seen: Range<usize>,
}

impl Terms<'_> {
    /// Whether the slices of [`weights`] have room for each position of a segment.
    pub fn fit(&self, dots: &[i32], codes: &[i8], out: &[f32]) -> bool {
        let len = dots.len();
        len <= SEGMENT
            && len.is_multiple_of(LANES)
            && self.seen.start <= self.seen.end
            && self.seen.end <= len
            && (self.key_scales.len(), self.value_scales.len()) == (len, len)
            && (codes.len(), out.len()) == (2 * SEGMENT, 2)
    }
}

/// Converts `dots` (one per position) to codes: first their high parts, then, from [`SEGMENT`] on, their low parts.
/// Sets `out` to the largest score and Σ exp. Returns the scale of the codes.
#[inline(always)]
pub(crate) fn weights(terms: &Terms<'_>, dots: &[i32], codes: &mut [i8], out: &mut [f32]) -> Scale {
    let len = dots.len();
    let mut buffer = [0.0; SEGMENT];
    let weights = &mut buffer[..len];
    for i in 0..len {
        weights[i] = (dots[i] - terms.query.offset) as f32 * terms.key_scales[i] * terms.query.step;
    }
    (out[0], out[1]) = softmax_terms(weights, terms.seen.clone());
    let mut max = [TINY; LANES];
    for (weights, scales) in weights.chunks_exact_mut(LANES).zip(terms.value_scales.chunks_exact(LANES)) {
        for i in 0..LANES {
            weights[i] *= scales[i];
            max[i] = if weights[i] > max[i] { weights[i] } else { max[i] };
        }
    }
    let max = max.into_iter().fold(TINY, |a, b| if b > a { b } else { a });
    let scale = LARGEST / max;
    let (high, low) = codes.split_at_mut(SEGMENT);
    let mut sum = 0;
    for i in 0..len {
        let code = (weights[i] * scale + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32;
        high[i] = (code >> 7) as i8;
        low[i] = (code & 127) as i8;
        sum += code;
    }
    Scale { step: max / LARGEST, offset: terms.bias * sum }
}

/// `out = (128 · high + low − offset) · step` of one query; `dots` holds the high sums, then the low sums.
#[inline(always)]
pub(crate) fn values(dots: &[i32], scale: Scale, out: &mut [f32]) {
    let (high, low) = dots.split_at(out.len());
    for i in 0..out.len() {
        out[i] = ((high[i] << 7) + low[i] - scale.offset) as f32 * scale.step;
    }
}
