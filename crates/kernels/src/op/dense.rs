//! Rows of embeddings and heads, decoded or multiplied as they are stored. The formats are in [`crate::format`].

use super::vector::{LANES, Vector, fold, lanes};

/// A format whose rows are whole blocks.
pub(crate) trait Stored {
    /// (weights, bytes) of a block.
    const BLOCK: (usize, usize);

    /// Decodes one block.
    fn decode_block(block: &[u8], out: &mut [f32]);

    /// Decodes one row.
    #[inline(always)]
    fn decode(row: &[u8], out: &mut [f32]) {
        // A plain loop: a closure handed to an iterator may be compiled without the instruction set's features.
        for (block, out) in row.chunks_exact(Self::BLOCK.1).zip(out.chunks_exact_mut(Self::BLOCK.0)) {
            Self::decode_block(block, out);
        }
    }

    /// Dot products of stored rows with `f32` rows: `out[t][r]`, for all stored rows and `x.len() / cols` tokens.
    #[inline(always)]
    fn dot<V: Vector>(zeros: V, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32])
    where
        Self: Sized,
    {
        dot_blocks::<Self, V>(zeros, rows, cols, x, out);
    }
}

/// A format that stores each number by itself.
pub(crate) trait Plain {
    /// Bytes of a number.
    const BYTES: usize;

    /// Decodes one number.
    fn number(bytes: &[u8]) -> f32;

    /// Decodes 16 neighbours into the lanes of a vector.
    fn load<V: Vector>(zeros: V, bytes: &[u8]) -> V;
}

impl<P: Plain> Stored for P {
    const BLOCK: (usize, usize) = (1, P::BYTES);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        out[0] = P::number(block);
    }

    #[inline(always)]
    fn dot<V: Vector>(zeros: V, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
        dot_plain::<P, V>(zeros, rows, cols, x, out);
    }
}

/// Four rows at a time, for one token or for four: independent chains hide the latency of the adds.
#[inline(always)]
pub(crate) fn dot_plain<T: Plain, V: Vector>(zeros: V, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
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
fn dot_blocks<T: Stored, V: Vector>(zeros: V, rows: &[u8], cols: usize, x: &[f32], out: &mut [f32]) {
    /// Rows decoded at a time: independent chains of adds, and they stay in the first-level cache.
    const R: usize = 2;
    let row_bytes = cols / T::BLOCK.0 * T::BLOCK.1;
    let count = rows.len() / row_bytes;
    let whole = cols / LANES * LANES;
    let mut decoded = vec![0.0; R * cols];
    for (i, rows) in rows.chunks(R * row_bytes).enumerate() {
        for (row, decoded) in rows.chunks_exact(row_bytes).zip(decoded.chunks_exact_mut(cols)) {
            T::decode(row, decoded);
        }
        for (t, x) in x.chunks_exact(cols).enumerate() {
            let mut acc = [[zeros; 1]; R];
            for k in (0..whole).step_by(LANES) {
                let mut w = [zeros; R];
                for r in 0..R {
                    w[r] = zeros.load(&decoded[r * cols + k..]);
                }
                add_products(&mut acc, &w, &[zeros.load(&x[k..])]);
            }
            if whole < cols {
                let mut w = [zeros; R];
                for r in 0..R {
                    w[r] = zeros.load(&lanes(&decoded[r * cols + whole..(r + 1) * cols]));
                }
                add_products(&mut acc, &w, &[zeros.load(&lanes(&x[whole..]))]);
            }
            for r in 0..R.min(count - i * R) {
                out[t * count + i * R + r] = fold(acc[r][0].lanes());
            }
        }
    }
}
