//! Rows that are not ternary: the number formats of embeddings and heads, decoded or multiplied as they are stored.
//!
//! Block layouts follow ggml's (`ggml-quants`): a block of 32 or 256 weights with its scales, little endian.

use super::math::f16_to_f32;
use super::vector::{LANES, Vector, fold, lanes};

/// How the weights of a row are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenseType {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16: the upper half of a single.
    Bf16,
    /// 32 weights in 34 bytes: f16 scale, i8 × 32.
    Q8_0,
    /// 32 weights in 18 bytes: f16 scale, 16 bytes of nibbles (low nibbles first), value q − 8.
    Q4_0,
    /// 256 weights in 144 bytes: f16 scale and minimum, eight 6-bit scale/minimum pairs, nibbles.
    Q4K,
    /// 256 weights in 210 bytes: low nibbles, high pairs of bits, sixteen i8 scales, f16 scale.
    Q6K,
}

impl DenseType {
    /// (weights, bytes) of a block.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4K => (256, 144),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of `cols` weights; `None` if they are not whole blocks or overflow.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let (weights, bytes) = self.block();
        if cols.is_multiple_of(weights) { (cols / weights).checked_mul(bytes) } else { None }
    }

    /// Name in lower case, as `--stored-head` and reports use it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4K => "q4_k",
            Self::Q6K => "q6_k",
        }
    }
}

/// Whether the slices of [`dot`] are whole rows, and `out` has a place for each product.
pub(crate) fn fits(kind: DenseType, rows: &[u8], cols: usize, x: &[f32], out: &[f32]) -> bool {
    kind.row_bytes(cols).is_some_and(|bytes| {
        bytes > 0
            && rows.len().is_multiple_of(bytes)
            && x.len().is_multiple_of(cols)
            && out.len() == x.len() / cols * (rows.len() / bytes)
    })
}

/// Dot products of stored rows with `f32` rows: `out[t][r]`, `rows.len() / row_bytes` rows, `x.len() / cols` tokens.
#[inline(always)]
pub(crate) fn dot<V: Vector>(zeros: V, kind: DenseType, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
    match kind {
        DenseType::F32 => dot_plain::<F32, V>(zeros, rows, cols, x, out),
        DenseType::F16 => dot_plain::<F16, V>(zeros, rows, cols, x, out),
        DenseType::Bf16 => dot_plain::<Bf16, V>(zeros, rows, cols, x, out),
        _ => dot_blocks::<V>(zeros, kind, rows, cols, x, out),
    }
}

/// A plain number format: how 16 neighbours become lanes.
trait Plain {
    const BYTES: usize;
    fn load<V: Vector>(zeros: V, bytes: &[u8]) -> V;
}

struct F32;
struct F16;
struct Bf16;

impl Plain for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    fn load<V: Vector>(zeros: V, bytes: &[u8]) -> V {
        zeros.load_f32(bytes)
    }
}

impl Plain for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    fn load<V: Vector>(zeros: V, bytes: &[u8]) -> V {
        zeros.load_f16(bytes)
    }
}

impl Plain for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    fn load<V: Vector>(zeros: V, bytes: &[u8]) -> V {
        zeros.load_bf16(bytes)
    }
}

/// Four rows at a time, for one token or for four: independent chains hide the latency of the adds.
#[inline(always)]
fn dot_plain<T: Plain, V: Vector>(zeros: V, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
    let row_bytes = cols * T::BYTES;
    let (count, m) = (rows.len() / row_bytes, x.len() / cols);
    let mut t = 0;
    while t < m {
        let tokens = if m - t >= 4 { 4 } else { 1 };
        let mut r = 0;
        while r < count {
            let step = if count - r >= 4 { 4 } else { 1 };
            let (rows, x) = (&rows[r * row_bytes..], &x[t * cols..]);
            let out = &mut out[t * count + r..];
            match (step, tokens) {
                (4, 4) => block::<T, V, 4, 4>(zeros, rows, cols, x, count, out),
                (4, _) => block::<T, V, 4, 1>(zeros, rows, cols, x, count, out),
                (_, 4) => block::<T, V, 1, 4>(zeros, rows, cols, x, count, out),
                _ => block::<T, V, 1, 1>(zeros, rows, cols, x, count, out),
            }
            r += step;
        }
        t += tokens;
    }
}

/// `acc[r][t] += w[r] · x[t]`. A function, not a closure: intrinsics are inlined only where their features are enabled,
/// and nothing forces a closure to be inlined there.
#[inline(always)]
fn add_products<V: Vector, const R: usize, const M: usize>(acc: &mut [[V; M]; R], w: &[V; R], x: &[V; M]) {
    for t in 0..M {
        for r in 0..R {
            acc[r][t] = acc[r][t].add_product(w[r], x[t]);
        }
    }
}

/// `R` rows × `M` tokens; `out[t · stride + r]`.
#[inline(always)]
fn block<T: Plain, V: Vector, const R: usize, const M: usize>(
    zeros: V,
    rows: &[u8],
    cols: usize,
    x: &[f32],
    stride: usize,
    out: &mut [f32],
) {
    let row_bytes = cols * T::BYTES;
    let whole = cols / LANES * LANES;
    let mut acc = [[zeros; M]; R];
    let mut k = 0;
    while k < whole {
        let (mut w, mut v) = ([zeros; R], [zeros; M]);
        for r in 0..R {
            let stored = &rows[r * row_bytes + k * T::BYTES..];
            // The same place in the next group of rows: each row is a stream too short for the hardware to learn.
            zeros.prefetch(stored, R * row_bytes);
            w[r] = T::load(zeros, stored);
        }
        for t in 0..M {
            v[t] = zeros.load(&x[t * cols + k..]);
        }
        add_products(&mut acc, &w, &v);
        k += LANES;
    }
    if whole < cols {
        let (mut w, mut v) = ([zeros; R], [zeros; M]);
        for r in 0..R {
            let mut tail = [0; 4 * LANES];
            tail[..(cols - whole) * T::BYTES]
                .copy_from_slice(&rows[r * row_bytes + whole * T::BYTES..(r + 1) * row_bytes]);
            w[r] = T::load(zeros, &tail);
        }
        for t in 0..M {
            v[t] = zeros.load(&lanes(&x[t * cols + whole..(t + 1) * cols]));
        }
        add_products(&mut acc, &w, &v);
    }
    for r in 0..R {
        for t in 0..M {
            out[t * stride + r] = fold(acc[r][t].lanes());
        }
    }
}

/// Block formats: rows are decoded to `f32`, then multiplied with every token in the same order.
#[inline(always)]
fn dot_blocks<V: Vector>(zeros: V, kind: DenseType, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
    /// Rows decoded at a time: independent chains of adds, and they stay in the first-level cache.
    const R: usize = 2;
    let Some(row_bytes) = kind.row_bytes(cols) else { return };
    let count = rows.len() / row_bytes;
    let mut decoded = vec![0.0; R * cols];
    for (i, rows) in rows.chunks(R * row_bytes).enumerate() {
        for (row, decoded) in rows.chunks_exact(row_bytes).zip(decoded.chunks_exact_mut(cols)) {
            decode(kind, row, decoded);
        }
        for (t, x) in x.chunks_exact(cols).enumerate() {
            let mut acc = [[zeros; 1]; R];
            // Blocks are 32 or 256 weights, so there is no tail.
            for k in (0..cols).step_by(LANES) {
                let mut w = [zeros; R];
                for r in 0..R {
                    w[r] = zeros.load(&decoded[r * cols + k..]);
                }
                add_products(&mut acc, &w, &[zeros.load(&x[k..])]);
            }
            for r in 0..R.min(count - i * R) {
                out[t * count + i * R + r] = fold(acc[r][0].lanes());
            }
        }
    }
}

#[inline(always)]
fn half(bytes: &[u8]) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// Decodes one stored row.
#[inline(always)]
pub(crate) fn decode(kind: DenseType, row: &[u8], out: &mut [f32]) {
    let (weights, bytes) = kind.block();
    // Plain loops: a closure handed to an iterator may be compiled without the instruction set's features.
    match kind {
        DenseType::F32 => {
            for (out, stored) in out.iter_mut().zip(row.as_chunks().0) {
                *out = f32::from_le_bytes(*stored);
            }
        }
        DenseType::F16 => {
            for (out, stored) in out.iter_mut().zip(row.as_chunks().0) {
                *out = f16_to_f32(u16::from_le_bytes(*stored));
            }
        }
        DenseType::Bf16 => {
            for (out, stored) in out.iter_mut().zip(row.as_chunks().0) {
                *out = f32::from_bits(u32::from(u16::from_le_bytes(*stored)) << 16);
            }
        }
        _ => {}
    }
    for (block, out) in row.chunks_exact(bytes).zip(out.chunks_exact_mut(weights)) {
        match kind {
            DenseType::F32 | DenseType::F16 | DenseType::Bf16 => return,
            DenseType::Q8_0 => decode_q8_0(block, out),
            DenseType::Q4_0 => decode_q4_0(block, out),
            DenseType::Q4K => decode_q4_k(block, out),
            DenseType::Q6K => decode_q6_k(block, out),
        }
    }
}

/// `d:f16 | q:i8×32`
#[inline(always)]
fn decode_q8_0(block: &[u8], out: &mut [f32]) {
    let d = half(block);
    let quants: [u8; 32] = array(&block[2..]);
    let mut values = [0.0; 32];
    for l in 0..32 {
        values[l] = f32::from(quants[l] as i8) * d;
    }
    out.copy_from_slice(&values);
}

/// `d:f16 | nibbles×16`: low nibbles are weights 0…15, high nibbles 16…31
#[inline(always)]
fn decode_q4_0(block: &[u8], out: &mut [f32]) {
    let d = half(block);
    let nibbles: [u8; 16] = array(&block[2..]);
    let mut values = [0.0; 32];
    for l in 0..16 {
        values[l] = (i32::from(nibbles[l] & 15) - 8) as f32 * d;
        values[l + 16] = (i32::from(nibbles[l] >> 4) - 8) as f32 * d;
    }
    out.copy_from_slice(&values);
}

/// `d:f16 | dmin:f16 | scales×12 | nibbles×128`: 32 bytes of nibbles are two sub-blocks of 32, low then high
#[inline(always)]
fn decode_q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin, s) = (half(block), half(&block[2..]), &block[4..16]);
    for i in 0..8 {
        let (scale, min) = if i < 4 {
            (s[i] & 63, s[i + 4] & 63)
        } else {
            (s[i + 4] & 15 | s[i - 4] >> 6 << 4, s[i + 4] >> 4 | s[i] >> 6 << 4)
        };
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        let nibbles: [u8; 32] = array(&block[16 + 32 * (i / 2)..]);
        let shift = 4 * (i % 2);
        let mut values = [0.0; 32];
        for l in 0..32 {
            values[l] = scale * ((u32::from(nibbles[l]) >> shift & 15) as f32) - min;
        }
        out[32 * i..32 * (i + 1)].copy_from_slice(&values);
    }
}

/// The first `N` bytes as an array: with its length known, a loop over it becomes vector instructions.
#[inline(always)]
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

/// `low×128 | high×64 | scales:i8×16 | d:f16`: each half of 128 weights is four runs of 32
#[inline(always)]
fn decode_q6_k(block: &[u8], out: &mut [f32]) {
    let d = half(&block[208..]);
    for run in 0..8 {
        let (part, quarter) = (run / 4, run % 4);
        let low: [u8; 32] = array(&block[64 * part + 32 * (quarter % 2)..]);
        let high: [u8; 32] = array(&block[128 + 32 * part..]);
        let (low_shift, high_shift) = (4 * (quarter / 2), 2 * quarter);
        // In bytes first: a vector holds four times as many of them.
        let mut quants = [0u8; 32];
        for l in 0..32 {
            quants[l] = low[l] >> low_shift & 15 | (high[l] >> high_shift & 3) << 4;
        }
        let mut values = [0.0; 32];
        for side in 0..2 {
            let scale = d * f32::from(block[192 + 8 * part + 2 * quarter + side] as i8);
            for l in 16 * side..16 * (side + 1) {
                values[l] = scale * (i32::from(quants[l]) - 32) as f32;
            }
        }
        out[32 * run..32 * (run + 1)].copy_from_slice(&values);
    }
}
