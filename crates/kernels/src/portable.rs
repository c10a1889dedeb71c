//! The definition of correct: plain Rust, one written order for every float reduction.
//!
//! A reduction keeps 16 partial sums (lane `i` takes elements `i`, `i+16`, …; a short tail is padded with zeros),
//! multiplies then adds (never a fused multiply-add), and folds the lanes 8, 4, 2, 1. The float bodies are
//! `inline(always)`: each instruction set compiles this same source with its own features, so the bytes agree by
//! construction. Only the integer dot products are written again with intrinsics.

use crate::attention::{self, Dots, Scale, Segment, Terms};
use crate::bf16;
pub(crate) use crate::bf16::{dot as bf16_dot, row as bf16_row, turn as bf16_turn};
pub(crate) use crate::codes::coded_dot;
use crate::dense::{self, DenseType};
pub(crate) use crate::gradient::{
    cross_entropy, dot, relu2_mul_backward, rms_norm_backward, softmax, softmax_backward,
};
use crate::low_rank;
use crate::math::{self, ROUND};
use crate::vector::Vector;

/// Lanes of every float reduction.
pub const LANES: usize = 16;
pub(crate) type Lanes = [f32; LANES];

/// Folds 16 partial sums: i + (i+8), then 4, 2, 1.
#[inline(always)]
pub(crate) fn fold(mut lanes: Lanes) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// The next 16 values of `x`, zeros where it ends.
#[inline(always)]
pub(crate) fn lanes(x: &[f32]) -> Lanes {
    let mut out = [0.0; LANES];
    if x.len() >= LANES {
        out.copy_from_slice(&x[..LANES]);
    } else {
        out[..x.len()].copy_from_slice(x);
    }
    out
}

/// Dot products of 2-bit codes (0, 1, 2 for −1, 0, +1) with int8 rows, in tiles of 16 rows (layout: [`crate::ternary`]).
///
/// `codes`: `tiles · groups · 64` bytes; `x`: `m · groups · 16` values, row after row here;
/// `acc[t][row]`: the sum of code · x, exact.
#[inline(always)]
pub(crate) fn ternary_dot(codes: &[u8], groups: usize, x: &[i8], acc: &mut [i32]) {
    let (depth, tiles) = (groups * 16, codes.len() / (groups * 64));
    for (x, acc) in x.chunks_exact(depth).zip(acc.chunks_exact_mut(tiles * 16)) {
        for (row, acc) in acc.iter_mut().enumerate() {
            let tile = &codes[row / 16 * groups * 64..][..groups * 64];
            *acc = (0..depth).map(|k| i32::from(crate::ternary::code(tile, row % 16, k)) * i32::from(x[k])).sum();
        }
    }
}

/// Dot products of trits with `f32` rows, tile by tile: lane = row, and each row adds its products in the order of k.
#[inline(always)]
pub(crate) fn ternary_dot_f32(codes: &[u8], groups: usize, x: &[f32], depth: usize, out: &mut [f32]) {
    let tiles = codes.len() / (groups * 64);
    for (x, out) in x.chunks_exact(depth).zip(out.chunks_exact_mut(tiles * 16)) {
        for (tile, out) in codes.chunks_exact(groups * 64).zip(out.chunks_exact_mut(16)) {
            let mut acc = [0.0; LANES];
            for (line, x) in tile.chunks_exact(64).zip(x.chunks(16)) {
                let mut words = [0u32; LANES];
                for (word, bytes) in words.iter_mut().zip(line.chunks_exact(4)) {
                    *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
                for (k, &x) in x.iter().enumerate() {
                    let shift = 8 * (k % 4) + 2 * (k / 4);
                    for (acc, word) in acc.iter_mut().zip(words) {
                        *acc += ((word >> shift & 3) as i32 - 1) as f32 * x;
                    }
                }
            }
            out.copy_from_slice(&acc);
        }
    }
}

/// Per-token int8: `s = 127 / max(max|x|, 1e-5)`, codes `clamp(round_half_even(x·s), −128, 127)`.
/// Returns (s, sum of the codes).
#[inline(always)]
pub(crate) fn quantize(x: &[f32], codes: &mut [i8]) -> (f32, i32) {
    let mut max = [1e-5_f32; LANES];
    let mut fold_max = |values: &Lanes| {
        for (max, value) in max.iter_mut().zip(values) {
            let value = value.abs();
            *max = if value > *max { value } else { *max };
        }
    };
    let mut blocks = x.chunks_exact(LANES);
    blocks.by_ref().for_each(|block| fold_max(&lanes(block)));
    fold_max(&lanes(blocks.remainder()));
    let max = max.into_iter().fold(1e-5, |a, b| if b > a { b } else { a });
    let scale = 127.0 / max;
    let mut sum = 0i32;
    for (code, x) in codes.iter_mut().zip(x) {
        let y = x * scale;
        let y = if y > -128.0 { y } else { -128.0 };
        let y = if y < 127.0 { y } else { 127.0 };
        // Rounds half to even, and leaves the integer in the low bits.
        let integer = (y + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32;
        *code = integer as i8;
        sum += integer;
    }
    (scale, sum)
}

/// `out = w · (x / sqrt(mean(x²) + eps))`
#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mut acc = [0.0; LANES];
    let mut blocks = x.chunks_exact(LANES);
    for block in blocks.by_ref() {
        let block = lanes(block);
        acc = acc.add_product(block, block);
    }
    let tail = lanes(blocks.remainder());
    acc = acc.add_product(tail, tail);
    let scale = 1.0 / (fold(acc) / x.len() as f32 + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = w * (x * scale);
    }
}

/// Rotates pairs (i, i + dim/2) of one head: `(a·cos − b·sin, b·cos + a·sin)`.
#[inline(always)]
pub(crate) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (x, y) = (*a, *b);
        *a = x * cos - y * sin;
        *b = y * cos + x * sin;
    }
}

/// `gate = relu(gate)² · up`; zero where the gate is not positive, whatever `up` is.
#[inline(always)]
pub(crate) fn relu2_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        let product = *gate * *gate * up;
        *gate = if *gate > 0.0 { product } else { 0.0 };
    }
}

/// `gate = gate / (1 + e^−gate) · up`
#[inline(always)]
pub(crate) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + math::exp(-*gate)) * up;
    }
}

/// `x += y`
#[inline(always)]
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// Products of numbers with columns, added up. See [`crate::low_rank`].
#[inline(always)]
pub(crate) fn add_columns(columns: &[f32], stride: usize, t: &[f32], out: &mut [f32]) {
    low_rank::add_columns(columns, stride, t, out);
}

/// Rounds to halves (see [`math::f32_to_f16`]).
#[inline(always)]
pub(crate) fn to_f16(x: &[f32], out: &mut [u16]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = math::f32_to_f16(*x);
    }
}

/// Dot products of stored rows with `f32` rows: `out[t][r]`, `rows.len() / row_bytes` rows, `x.len() / cols` tokens.
#[inline(always)]
pub(crate) fn dense_dot<V: Vector>(kind: DenseType, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
    match kind {
        DenseType::F32 => dense::dot::<dense::F32, V>(rows, cols, x, out),
        DenseType::F16 => dense::dot::<dense::F16, V>(rows, cols, x, out),
        DenseType::Bf16 => dense::dot::<dense::Bf16, V>(rows, cols, x, out),
        _ => dense::dot_blocks::<V>(kind, rows, cols, x, out),
    }
}

/// Decodes one stored row.
#[inline(always)]
pub(crate) fn dense_row(kind: DenseType, row: &[u8], out: &mut [f32]) {
    dense::decode(kind, row, out);
}

/// Attention of queries that share one key/value head over one segment of an f16 cache. See [`crate::attention`].
#[inline(always)]
pub(crate) fn attend_halves<V: Vector>(segment: &Segment<'_>, q: &[f32], out: &mut [f32]) {
    attention::attend_halves::<V>(segment, q, out);
}

/// Adds a later segment's softmax to the earlier ones'.
#[inline(always)]
pub(crate) fn merge_segments(state: &mut [f32], partial: &[f32]) {
    attention::merge_segments(state, partial);
}

/// Scores of an int8 cache to weights of 14 bits.
#[inline(always)]
pub(crate) fn int8_weights(terms: &Terms<'_>, dots: &[i32], codes: &mut [i8], out: &mut [f32]) -> Scale {
    attention::int8_weights(terms, dots, codes, out)
}

/// Sums of an int8 cache's values to floats.
#[inline(always)]
pub(crate) fn int8_values(dots: &[i32], scale: Scale, out: &mut [f32]) {
    attention::int8_values(dots, scale, out);
}

/// Two rows as pairs of bf16, multiplied with their scales.
#[inline(always)]
pub(crate) fn bf16_pairs(rows: [&[f32]; 2], scales: [f32; 2], out: &mut [u32]) {
    bf16::pairs(rows, scales, out);
}

/// Two rows of small integers as pairs of bf16.
#[inline(always)]
pub(crate) fn bf16_integers(rows: [&[i8]; 2], out: &mut [u32]) {
    bf16::pairs(rows, [1.0; 2], out);
}

/// Exact dots of u8 tiles with int8 rows, added to `acc`.
#[inline(always)]
pub(crate) fn int8_dot(dots: &Dots<'_>, acc: &mut [i32]) {
    for (i, tile) in dots.lines.chunks_exact(dots.depth * LANES).enumerate() {
        for row in 0..dots.rows {
            let x = &dots.x[row * dots.x_stride..][..dots.depth];
            let acc = &mut acc[row * dots.acc_stride + i * LANES..][..LANES];
            for (line, x) in tile.chunks_exact(64).zip(x.chunks_exact(4)) {
                for (acc, bytes) in acc.iter_mut().zip(line.chunks_exact(4)) {
                    for b in 0..4 {
                        *acc += i32::from(bytes[b]) * i32::from(x[b]);
                    }
                }
            }
        }
    }
}

/// Sums of a product to outputs.
#[inline(always)]
pub(crate) fn bf16_finish(sums: &[f32], scale: f32, add: bool, out: &mut [f32]) {
    if add {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += scale * sum;
        }
    } else {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = scale * sum;
        }
    }
}
