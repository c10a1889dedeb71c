//! The int8 cache: exact integer dots, floats only around them.
//!
//! ```text
//! score(p)  = (Σ code_q · code_k(p)) · scale_k(p) · scale_q                  i32, then two f32 products
//! weight(p) = exp(score − largest) · scale_v(p)                              f32
//! code(p)   = round(weight(p) · 16383 / largest weight) = 128 · high + low   14 bits, two parts of 7
//! out(i)    = (Σ code(p) · code_v(p, i)) · largest weight / 16383            i32, then one f32 product
//! ```
//!
//! Keys and values are stored as code + 128, since `vpdpbusd` and AMX multiply unsigned with signed; 128 times the sum
//! of the other side is taken off afterwards. Nothing wraps: a score is at most 255 · 128 · 256 dims < 2²³, and a
//! segment's Σ code · (code_v + 128) is at most 16383 · 255 · 256 positions < 2³⁰, however long the context is.

use super::{PAGE, SEGMENT, Segment, softmax_terms};
use crate::lines::LINE;
use crate::math::ROUND;
use crate::memory::prefetch;
use crate::portable::LANES;
use crate::set::KernelSet;

/// Pages between what is read and what is asked for: 8 KiB of keys or values.
const AHEAD: usize = 2;
/// Queries whose sums are in work together.
const QUERIES: usize = 8;

/// The largest weight's code: 14 bits.
const LARGEST: f32 = 16383.0;

/// What the largest weight is taken for if no position is seen: dividing by it stays finite.
const TINY: f32 = 1e-30;

/// The largest head, so that no sum of products wraps.
const MAX_DIM: usize = 1 << 15;

/// Tiles of 16 lanes times rows of int8: `acc[row · acc_stride + tile · 16 + lane] += Σ line · x`, exact.
///
/// ```text
/// tile = [depth / 4][16 lanes][4] u8        x row = [depth] i8
/// ```
pub(crate) struct Dots<'a> {
    /// Whole tiles.
    pub lines: &'a [u8],
    /// Products of a sum; a multiple of 4.
    pub depth: usize,
    pub x: &'a [i8],
    pub x_stride: usize,
    pub rows: usize,
    pub acc_stride: usize,
    /// How far behind `lines` the bytes lie that are wanted next.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "the portable kernels do not prefetch"))]
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

/// Stores one position's key and value in the bytes of its head. See [`super`] for the layout.
pub(super) fn store(set: &KernelSet, padded: usize, bytes: &mut [u8], slot: usize, k: &[f32], v: &[f32]) {
    assert!(padded <= MAX_DIM, "heads of up to {MAX_DIM} values");
    let mut codes = vec![0; padded];
    let (keys, rest) = bytes.split_at_mut(PAGE * padded);
    let (values, scales) = rest.split_at_mut(PAGE * padded);
    let (key_scales, value_scales) = scales.split_at_mut(PAGE * 4);
    let (tile, lane) = (&mut keys[slot / LANES * padded * LANES..][..padded * LANES], slot % LANES);
    let scale = quantize(set, k, &mut codes[..k.len()]);
    key_scales[4 * slot..][..4].copy_from_slice(&scale.step.to_le_bytes());
    for (line, codes) in tile.as_chunks_mut::<64>().0.iter_mut().zip(codes.as_chunks::<4>().0) {
        let codes = u32::from_le_bytes(codes.map(|code| code as u8)) ^ 0x8080_8080;
        line[4 * lane..4 * lane + 4].copy_from_slice(&codes.to_le_bytes());
    }
    let scale = quantize(set, v, &mut codes[..v.len()]);
    value_scales[4 * slot..][..4].copy_from_slice(&scale.step.to_le_bytes());
    for (block, codes) in values.chunks_exact_mut(PAGE * LANES).zip(codes.as_chunks::<LANES>().0) {
        let line = &mut block[slot / 4 * 64..][..64];
        for (to, code) in line.as_chunks_mut::<4>().0.iter_mut().zip(codes) {
            to[slot % 4] = *code as u8 ^ 128;
        }
    }
}

/// What turns integer sums back into floats.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scale {
    /// What one step of the codes is worth.
    step: f32,
    /// 128 times the sum of the codes: what the 128 on the other side added.
    offset: i32,
}

/// Codes of a head. As with halves, one that reaches beyond ±65504 saturates.
fn quantize(set: &KernelSet, x: &[f32], codes: &mut [i8]) -> Scale {
    let (scale, sum) = set.quantize(x, codes);
    let (step, most) = (1.0 / scale, 65504.0 / 127.0);
    Scale { step: if step < most { step } else { most }, offset: 128 * sum }
}

/// Query heads as int8.
pub(super) struct Queries {
    codes: Vec<i8>,
    scales: Vec<Scale>,
}

impl Queries {
    pub fn new(set: &KernelSet, q: &[f32], padded: usize) -> Self {
        let mut codes = vec![0; q.len()];
        let rows = q.chunks_exact(padded).zip(codes.chunks_exact_mut(padded));
        let scales = rows.map(|(q, codes)| quantize(set, q, codes)).collect();
        Self { codes, scales }
    }
}

/// One segment for all queries of a tile; `out` holds `padded_dim + 16` values for each.
pub(super) fn attend(set: &KernelSet, segment: &Segment<'_>, q: &Queries, out: &mut [f32]) {
    let dim = segment.padded_dim;
    let (mut key_scales, mut value_scales) = ([0.0; SEGMENT], [0.0; SEGMENT]);
    for &number in segment.after.iter().take(segment.numbers.len()) {
        for line in segment.numbered(number)[2 * segment.side..].chunks(LINE) {
            prefetch(line, 0);
        }
    }
    for page in 0..segment.numbers.len() {
        let (keys, values) = segment.page(page)[2 * segment.side..].split_at(PAGE * 4);
        for (scales, bytes) in [(&mut key_scales, keys), (&mut value_scales, values)] {
            for (scale, bytes) in scales[page * PAGE..][..PAGE].iter_mut().zip(bytes.as_chunks::<4>().0) {
                *scale = f32::from_le_bytes(*bytes);
            }
        }
    }
    let len = segment.numbers.len() * PAGE;
    let rows = q.codes.chunks(QUERIES * dim).zip(q.scales.chunks(QUERIES)).zip(segment.seen.chunks(QUERIES));
    for (((codes, scales), seen), out) in rows.zip(out.chunks_mut(QUERIES * (dim + LANES))) {
        let mut dots = [0; QUERIES * SEGMENT];
        score(set, segment, codes, scales.len(), &mut dots);
        let mut weights = [0i8; 2 * QUERIES * SEGMENT];
        let mut steps = [Scale::default(); QUERIES];
        for (i, (&query, &seen)) in scales.iter().zip(seen).enumerate() {
            let terms = Terms { key_scales: &key_scales[..len], value_scales: &value_scales[..len], query, seen };
            let weights = &mut weights[2 * i * SEGMENT..][..2 * SEGMENT];
            let out = &mut out[i * (dim + LANES) + dim..][..2];
            steps[i] = set.int8_weights(&terms, &dots[i * SEGMENT..][..len], weights, out);
        }
        weigh(set, segment, &weights, &steps[..scales.len()], out);
    }
}

/// `dots[query][position] += Σ code_q · (code_k + 128)`
fn score(set: &KernelSet, segment: &Segment<'_>, codes: &[i8], queries: usize, dots: &mut [i32]) {
    let dim = segment.padded_dim;
    for page in 0..segment.numbers.len() {
        let ahead = segment.keys_ahead(page, AHEAD);
        let lines = segment.keys(page);
        let product = Dots { lines, depth: dim, x: codes, x_stride: dim, rows: queries, acc_stride: SEGMENT, ahead };
        set.int8_dot(&product, &mut dots[page * PAGE..]);
    }
}

/// `out[query] = Σ weight · value`: both parts of a weight are rows of one product.
fn weigh(set: &KernelSet, segment: &Segment<'_>, weights: &[i8], steps: &[Scale], out: &mut [f32]) {
    let (dim, rows) = (segment.padded_dim, 2 * steps.len());
    let mut dots = vec![0; rows * dim];
    for page in 0..segment.numbers.len() {
        let (lines, ahead) = (segment.values(page), segment.values_ahead(page, AHEAD));
        let x = &weights[page * PAGE..];
        let product = Dots { lines, depth: PAGE, x, x_stride: SEGMENT, rows, acc_stride: dim, ahead };
        set.int8_dot(&product, &mut dots);
    }
    for ((dots, step), out) in dots.chunks_exact(2 * dim).zip(steps).zip(out.chunks_exact_mut(dim + LANES)) {
        set.int8_values(dots, *step, &mut out[..dim]);
    }
}

/// What turns one query's dots into weights.
pub(crate) struct Terms<'a> {
    key_scales: &'a [f32],
    value_scales: &'a [f32],
    query: Scale,
    /// Positions that the query sees.
    seen: usize,
}

/// `dots` (one a position) to codes: their high parts, and [`SEGMENT`] behind them their low parts. `out` becomes the
/// largest score and Σ exp; returns the scale of the codes.
#[inline(always)]
pub(crate) fn weights(terms: &Terms<'_>, dots: &[i32], codes: &mut [i8], out: &mut [f32]) -> Scale {
    let len = dots.len();
    let mut buffer = [0.0; SEGMENT];
    let weights = &mut buffer[..len];
    for i in 0..len {
        weights[i] = (dots[i] - terms.query.offset) as f32 * terms.key_scales[i] * terms.query.step;
    }
    (out[0], out[1]) = softmax_terms(weights, terms.seen);
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
    Scale { step: max / LARGEST, offset: 128 * sum }
}

/// `out = (128 · high + low − offset) · step` of one query; `dots` holds the high sums, then the low ones.
#[inline(always)]
pub(crate) fn values(dots: &[i32], scale: Scale, out: &mut [f32]) {
    let (high, low) = dots.split_at(out.len());
    for i in 0..out.len() {
        out[i] = ((high[i] << 7) + low[i] - scale.offset) as f32 * scale.step;
    }
}
