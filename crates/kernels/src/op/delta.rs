//! The gated delta rule, in chunks of rows on one grid from position 0.
//!
//! Token by token, a head has a memory S, `(key, value)`: `S ← e^g·S; S ← S + k ⊗ β(v − Sᵀk); o = Sᵀq`. In a chunk with
//! the memory S at its first row, and with G the sum of g over its rows so far, the same is, row by row,
//!
//! ```text
//! u_i = β_i (v_i − e^G_i Sᵀk_i − Σ_{j<i} e^(G_i − G_j) (k_i·k_j) u_j)
//! o_i = e^G_i Sᵀq_i + Σ_{j≤i} e^(G_i − G_j) (q_i·k_j) u_j
//! S   = e^G_last S + Σ_j k_j ⊗ e^(G_last − G_j) u_j         behind the last row of the chunk
//! ```
//! A row depends on S and on the rows before it in its chunk only, so one row at a time gives the bytes of many.
//!
//! The state of one key head and its value heads, one after another:
//!
//! ```text
//! memory   value head, block of 32 value columns, key row, 32 values
//! keys     row of the chunk, key dimension
//! u        value head, row of the chunk, value dimension
//! G        value head, row of the chunk
//! ```
//!
//! Source: Yang et al., "Gated Delta Networks" (arXiv:2412.06464); `modeling_qwen3_5.py` of transformers.

use super::math::exp;
use super::vector::{LANES, Vector, fold};

/// Rows of a chunk.
pub(crate) const CHUNK: usize = 32;
/// Value columns that are computed together: the width of a block of the memory.
pub(crate) const BLOCK: usize = 2 * LANES;

/// The sizes of one key head and its value heads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Dimension of queries and keys, a multiple of 16.
    pub(crate) key: usize,
    /// Dimension of values, a multiple of 32.
    pub(crate) value: usize,
    /// Number of value heads.
    pub(crate) count: usize,
}

/// The inputs of some rows: normalised queries and keys `(row, key)`, values `(row, head, value)`, and beta and g
/// `(row, head)`.
pub(crate) struct Inputs<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) beta: &'a [f32],
    pub(crate) g: &'a [f32],
}

impl Heads {
    fn memory(self) -> usize {
        self.key * self.value
    }

    /// Values of the state.
    pub(crate) fn state(self) -> usize {
        CHUNK * self.key + self.count * (self.memory() + CHUNK * self.value + CHUNK)
    }

    /// Whether the rows fit into the chunk from row `at` on, and all slices have their sizes.
    pub(crate) fn fit(self, at: usize, state: &[f32], x: &Inputs<'_>, out: &[f32]) -> bool {
        let rows = x.q.len() / self.key.max(1);
        let sizes = self.key.is_multiple_of(LANES) && self.value.is_multiple_of(BLOCK) && self.key > 0;
        let inputs = [(x.q, self.key), (x.k, self.key), (x.v, self.count * self.value), (x.beta, self.count)];
        sizes
            && at + rows <= CHUNK
            && state.len() == self.state()
            && inputs.iter().all(|(x, width)| x.len() == rows * width)
            && x.g.len() == x.beta.len()
            && out.len() == x.v.len()
    }
}

/// e^x for x ≤ 0. Below −60 it is 0, so that products with it do not become subnormal numbers, which are slow.
#[inline(always)]
fn decay(x: f32) -> f32 {
    if x > -60.0 { exp(x) } else { 0.0 }
}

/// `x = scale · x / sqrt(Σx² + 10⁻⁶)`, for a length that is a multiple of 16.
#[inline(always)]
pub(crate) fn unit<V: Vector>(zeros: V, x: &mut [f32], scale: f32) {
    let scale = scale / (dot(zeros, x, x) + 1e-6).sqrt();
    for x in x {
        *x *= scale;
    }
}

/// 16 lanes, multiply then add, then folded.
#[inline(always)]
fn dot<V: Vector>(zeros: V, a: &[f32], b: &[f32]) -> f32 {
    let mut acc = zeros;
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        acc = acc.add_product(zeros.load(a), zeros.load(b));
    }
    fold(acc.lanes())
}

/// A causal convolution of each channel with its own taps, and SiLU. `rows` are the rows that end with the current one,
/// as many as there are taps a channel: `(row, channel)`; `taps` are `(row, channel)` too.
#[inline(always)]
pub(crate) fn convolve(rows: &[f32], taps: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for (row, taps) in rows.chunks_exact(out.len()).zip(taps.chunks_exact(out.len())) {
        for ((out, x), tap) in out.iter_mut().zip(row).zip(taps) {
            *out += tap * x;
        }
    }
    for x in out {
        *x /= 1.0 + exp(-*x);
    }
}

/// Computes rows `at..` of a chunk. Behind its last row, the memory moves on to the next chunk.
#[inline(always)]
pub(crate) fn rows<V: Vector>(zeros: V, heads: Heads, at: usize, state: &mut [f32], x: &Inputs<'_>, out: &mut [f32]) {
    let Heads { key, value, count } = heads;
    let (memory, rest) = state.split_at_mut(count * heads.memory());
    let (keys, rest) = rest.split_at_mut(CHUNK * key);
    let (u, sums) = rest.split_at_mut(count * CHUNK * value);
    let n = x.q.len() / key;
    keys[at * key..][..n * key].copy_from_slice(x.k);
    for head in 0..count {
        let memory = &memory[head * heads.memory()..][..heads.memory()];
        recall(zeros, heads, memory, x, &mut u[(head * CHUNK + at) * value..][..n * value], &mut out[head * value..]);
    }
    for i in 0..n {
        let (row, q, k) = (at + i, &x.q[i * key..][..key], &x.k[i * key..][..key]);
        let (mut with_k, mut with_q) = ([0.0; CHUNK], [0.0; CHUNK]);
        for (j, other) in keys.chunks_exact(key).take(row + 1).enumerate() {
            (with_k[j], with_q[j]) = (dot(zeros, k, other), dot(zeros, q, other));
        }
        for head in 0..count {
            let sums = &mut sums[head * CHUNK..][..CHUNK];
            sums[row] = x.g[i * count + head] + if row > 0 { sums[row - 1] } else { 0.0 };
            let total = sums[row];
            let (mut before_k, mut before_q) = ([0.0; CHUNK], [0.0; CHUNK]);
            for j in 0..CHUNK {
                let decay = decay(total - sums[j]);
                (before_k[j], before_q[j]) = (decay * with_k[j], decay * with_q[j]);
            }
            let at = (i * count + head) * value;
            let new = Row { row, decay: decay(total), beta: x.beta[i * count + head], v: &x.v[at..][..value] };
            let u = &mut u[head * CHUNK * value..][..CHUNK * value];
            new.compute(zeros, (&before_k, &before_q), u, &mut out[at..][..value]);
        }
    }
    if at + n == CHUNK {
        for head in 0..count {
            let (memory, sums) =
                (&mut memory[head * heads.memory()..][..heads.memory()], &sums[head * CHUNK..][..CHUNK]);
            advance(zeros, heads, memory, keys, &mut u[head * CHUNK * value..][..CHUNK * value], sums);
        }
    }
}

/// `Sᵀk` of all rows to `u`, and `Sᵀq` to `out`, whose rows hold all value heads.
#[inline(always)]
fn recall<V: Vector>(zeros: V, heads: Heads, memory: &[f32], x: &Inputs<'_>, u: &mut [f32], out: &mut [f32]) {
    let Heads { key, value, count } = heads;
    let n = x.q.len() / key;
    for (b, memory) in memory.chunks_exact(key * BLOCK).enumerate() {
        let mut i = 0;
        while i < n {
            let (k, q) = (&x.k[i * key..], &x.q[i * key..]);
            let (u, out) = (&mut u[i * value + b * BLOCK..], &mut out[i * count * value + b * BLOCK..]);
            if V::REGISTERS >= 32 && i + 4 <= n {
                recall_rows::<V, 4>(zeros, heads, memory, (k, q), (u, out));
                i += 4;
            } else {
                recall_rows::<V, 1>(zeros, heads, memory, (k, q), (u, out));
                i += 1;
            }
        }
    }
}

/// Products of `N` rows with a block of the memory, in ascending order of key dimensions.
#[inline(always)]
fn recall_rows<V: Vector, const N: usize>(
    zeros: V,
    Heads { key, value, count }: Heads,
    memory: &[f32],
    (k, q): (&[f32], &[f32]),
    (u, out): (&mut [f32], &mut [f32]),
) {
    let (mut of_k, mut of_q) = ([[zeros; 2]; N], [[zeros; 2]; N]);
    for (d, line) in memory.as_chunks::<BLOCK>().0.iter().enumerate() {
        let line = [zeros.load(&line[..LANES]), zeros.load(&line[LANES..])];
        for t in 0..N {
            let (k, q) = (zeros.splat(k[t * key + d]), zeros.splat(q[t * key + d]));
            for half in 0..2 {
                of_k[t][half] = of_k[t][half].add_product(k, line[half]);
                of_q[t][half] = of_q[t][half].add_product(q, line[half]);
            }
        }
    }
    for t in 0..N {
        for half in 0..2 {
            u[t * value + half * LANES..][..LANES].copy_from_slice(&of_k[t][half].lanes());
            out[t * count * value + half * LANES..][..LANES].copy_from_slice(&of_q[t][half].lanes());
        }
    }
}

/// A new row of a chunk.
struct Row<'a> {
    row: usize,
    /// e^G of the row.
    decay: f32,
    beta: f32,
    v: &'a [f32],
}

impl Row<'_> {
    /// Turns `Sᵀk` in the row of `u` into u, and `Sᵀq` in `out` into the output, with the factors of the rows so far.
    #[inline(always)]
    fn compute<V: Vector>(
        &self,
        zeros: V,
        (before_k, before_q): (&[f32; CHUNK], &[f32; CHUNK]),
        u: &mut [f32],
        out: &mut [f32],
    ) {
        let value = out.len();
        let (before, new) = u.split_at_mut(self.row * value);
        let decay = zeros.splat(self.decay);
        for at in (0..value).step_by(BLOCK) {
            let (new, out) = (&mut new[at..][..BLOCK], &mut out[at..][..BLOCK]);
            let (mut of_k, mut of_q) = ([zeros; 2], [zeros; 2]);
            for half in 0..2 {
                of_k[half] = of_k[half].add_product(decay, zeros.load(&new[half * LANES..]));
                of_q[half] = of_q[half].add_product(decay, zeros.load(&out[half * LANES..]));
            }
            for (j, before) in before.chunks_exact(value).enumerate() {
                let (k, q) = (zeros.splat(before_k[j]), zeros.splat(before_q[j]));
                for half in 0..2 {
                    let before = zeros.load(&before[at + half * LANES..]);
                    of_k[half] = of_k[half].add_product(k, before);
                    of_q[half] = of_q[half].add_product(q, before);
                }
            }
            let own = zeros.splat(before_q[self.row]);
            for half in 0..2 {
                let (new, of_k) = (&mut new[half * LANES..][..LANES], of_k[half].lanes());
                let v = &self.v[at + half * LANES..][..LANES];
                for lane in 0..LANES {
                    new[lane] = self.beta * (v[lane] - of_k[lane]);
                }
                let sum = of_q[half].add_product(own, zeros.load(new));
                out[half * LANES..][..LANES].copy_from_slice(&sum.lanes());
            }
        }
    }
}

/// The memory behind a whole chunk. The rows of `u` lose their values.
#[inline(always)]
fn advance<V: Vector>(zeros: V, heads: Heads, memory: &mut [f32], keys: &[f32], u: &mut [f32], sums: &[f32]) {
    /// Key rows that are computed together.
    const ROWS: usize = 2;
    let Heads { key, value, .. } = heads;
    let last = sums[CHUNK - 1];
    for (u, sum) in u.chunks_exact_mut(value).zip(sums) {
        let decay = decay(last - sum);
        for u in u {
            *u *= decay;
        }
    }
    let decay = zeros.splat(decay(last));
    for (b, memory) in memory.chunks_exact_mut(key * BLOCK).enumerate() {
        for (d, lines) in memory.as_chunks_mut::<{ ROWS * BLOCK }>().0.iter_mut().enumerate() {
            let mut acc = [zeros; 2 * ROWS];
            for (acc, line) in acc.iter_mut().zip(lines.as_chunks::<LANES>().0) {
                *acc = acc.add_product(decay, zeros.load(line));
            }
            for (keys, u) in keys.chunks_exact(key).zip(u.chunks_exact(value)) {
                let u = &u[b * BLOCK..][..BLOCK];
                let u = [zeros.load(&u[..LANES]), zeros.load(&u[LANES..])];
                for row in 0..ROWS {
                    let k = zeros.splat(keys[d * ROWS + row]);
                    for half in 0..2 {
                        acc[2 * row + half] = acc[2 * row + half].add_product(k, u[half]);
                    }
                }
            }
            for (line, acc) in lines.as_chunks_mut::<LANES>().0.iter_mut().zip(acc) {
                *line = acc.lanes();
            }
        }
    }
}
