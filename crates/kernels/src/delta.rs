//! The gated delta rule for the heads of a layer: a causal convolution, then chunks of rows on one grid.
//!
//! ```text
//! rows m ──► convolution with the rows before, SiLU ──► q | k | v ──► each key head with its value heads ──► outputs
//!               window: the last rows of m                    state of the head (`op/delta.rs`)
//! ```

use crate::cpu::Cpu;
use crate::op::delta::{BLOCK, CHUNK, Heads, Inputs};
use crate::op::vector::LANES;
use crate::pool::SendPtr;
use crate::rows::Rows;

/// The heads of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaHeads {
    /// Heads of queries and keys.
    pub keys: usize,
    /// Heads of values, a multiple of `keys`.
    pub values: usize,
    /// Dimension of a query and a key.
    pub key_dim: usize,
    /// Dimension of a value.
    pub value_dim: usize,
    /// Rows that the convolution sees: the current one and those before it.
    pub taps: usize,
    /// Whether value head v belongs to key head v mod `keys` (GGUF); otherwise the value heads of a key head are adjacent.
    pub tiled: bool,
}

/// The inputs of some rows of a batch.
pub struct DeltaInputs<'a> {
    /// `(row, channel)`: queries, keys and values before the convolution.
    pub mixed: &'a [f32],
    /// `(row, 2 · value heads)`: beta of all heads, then g, the logarithm of the decay, at most 0.
    pub gates: &'a [f32],
    /// `(tap, channel)`: the weights of the convolution; the last tap is that of the current row.
    pub taps: &'a [f32],
}

impl DeltaHeads {
    /// Rows of a chunk. The memory changes only behind whole chunks, which begin at multiples of it.
    pub const CHUNK: usize = CHUNK;

    /// Whether the sizes are possible; the error says what is not.
    ///
    /// # Errors
    /// A sentence about the first size that is not possible.
    pub fn check(&self) -> Result<(), String> {
        let Self { keys, values, key_dim, value_dim, taps, .. } = *self;
        if keys == 0 || values == 0 || !values.is_multiple_of(keys) || values > 4096 {
            return Err(format!("{values} value heads cannot share {keys} key heads evenly"));
        }
        if key_dim == 0 || key_dim > 256 || !key_dim.is_multiple_of(LANES) {
            return Err(format!("a key size of {key_dim} is not a multiple of {LANES} up to 256"));
        }
        if value_dim == 0 || value_dim > 256 || !value_dim.is_multiple_of(BLOCK) {
            return Err(format!("a value size of {value_dim} is not a multiple of {BLOCK} up to 256"));
        }
        if !(1..=16).contains(&taps) {
            return Err(format!("a convolution over {taps} tokens is not one over 1 to 16"));
        }
        Ok(())
    }

    /// Channels of the convolution: queries, keys and values.
    pub fn channels(&self) -> usize {
        2 * self.keys * self.key_dim + self.outputs()
    }

    /// Values of an output: all value heads.
    pub fn outputs(&self) -> usize {
        self.values * self.value_dim
    }

    fn group(&self) -> Heads {
        Heads { key: self.key_dim, value: self.value_dim, count: self.values / self.keys.max(1) }
    }

    fn window(&self) -> usize {
        self.taps.saturating_sub(1) * self.channels()
    }

    /// Values of a sequence's state. All are zero before the first row.
    pub fn state(&self) -> usize {
        self.keys * self.group().state() + self.window()
    }

    /// Bytes of the state that a generated token reads and writes, on average over the rows of a chunk: the memory once, and
    /// twice more behind each chunk; half of the chunk's keys and values, and a new one; and the window.
    pub fn bytes_per_token(&self) -> usize {
        let memory = self.outputs() * self.key_dim;
        let row = self.keys * self.key_dim + self.outputs();
        (memory + 2 * memory / CHUNK + row * (CHUNK / 2 + 1) + 2 * self.window()) * size_of::<f32>()
    }

    /// The place of value head `r` of key head `key`.
    fn place(&self, key: usize, r: usize) -> usize {
        if self.tiled { key + self.keys * r } else { key * self.group().count + r }
    }

    /// Computes rows of one sequence from `position` on, and changes its state. `out` are the outputs, `(row, value head,
    /// value)`. However the rows are divided among calls, the bytes are the same.
    ///
    /// # Panics
    /// If a slice does not have its size.
    pub fn compute(&self, cpu: &Cpu, state: &mut [f32], position: usize, x: &DeltaInputs<'_>, out: &mut [f32]) {
        let channels = self.channels();
        let n = x.mixed.len() / channels;
        assert!(x.mixed.len() == n * channels && x.gates.len() == n * 2 * self.values, "inputs of whole rows");
        assert!(out.len() == n * self.outputs() && state.len() == self.state(), "outputs and state of the heads");
        assert!(x.taps.len() == self.taps * channels, "taps of all channels");
        if n == 0 {
            return;
        }
        let (heads, window) = state.split_at_mut(self.keys * self.group().state());
        let convolved = self.convolve(cpu, window, x);
        let out = SendPtr(out.as_mut_ptr());
        cpu.pool.pieces(heads, self.group().state(), |key, state| {
            let mut buffers = Buffers::new(self.group());
            let mut row = 0;
            while row < n {
                let at = (position + row) % CHUNK;
                let count = (CHUNK - at).min(n - row);
                buffers.gather(cpu, self, key, (&convolved, x.gates), row..row + count);
                buffers.compute(cpu, self.group(), at, state);
                buffers.scatter(self, key, row, |at, values| {
                    // SAFETY: the place is inside the `n` rows of `out`, and no two key heads share a value head.
                    unsafe { std::slice::from_raw_parts_mut(out.get().add(at), values.len()) }.copy_from_slice(values);
                });
                row += count;
            }
        });
    }

    /// The convolution of all rows; the window moves on.
    fn convolve(&self, cpu: &Cpu, window: &mut [f32], x: &DeltaInputs<'_>) -> Rows {
        let channels = self.channels();
        let rows = [window, x.mixed].concat();
        let mut out = Rows::unwritten(x.mixed.len() / channels, channels);
        cpu.pool.pieces(out.data_mut(), channels, |i, out| {
            cpu.isa.delta_convolve(&rows[i * channels..][..self.taps * channels], x.taps, out);
        });
        window.copy_from_slice(&rows[rows.len() - window.len()..]);
        out
    }
}

/// The inputs and outputs of one key head and its value heads, for the rows of one chunk.
struct Buffers {
    heads: Heads,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    beta: Vec<f32>,
    g: Vec<f32>,
    out: Vec<f32>,
}

impl Buffers {
    fn new(heads: Heads) -> Self {
        let [q, k, v, beta, g, out] = std::array::from_fn(|_| Vec::new());
        Self { heads, q, k, v, beta, g, out }
    }

    fn gather(
        &mut self,
        cpu: &Cpu,
        layer: &DeltaHeads,
        key: usize,
        (convolved, gates): (&Rows, &[f32]),
        rows: std::ops::Range<usize>,
    ) {
        let Heads { key: dk, value: dv, count } = self.heads;
        for buffer in [&mut self.q, &mut self.k, &mut self.v, &mut self.beta, &mut self.g] {
            buffer.clear();
        }
        for row in rows {
            let (x, gates) = (convolved.row(row), &gates[row * 2 * layer.values..][..2 * layer.values]);
            self.q.extend_from_slice(&x[key * dk..][..dk]);
            self.k.extend_from_slice(&x[(layer.keys + key) * dk..][..dk]);
            for r in 0..count {
                let head = layer.place(key, r);
                self.v.extend_from_slice(&x[2 * layer.keys * dk + head * dv..][..dv]);
                self.beta.push(gates[head]);
                self.g.push(gates[layer.values + head]);
            }
        }
        let scale = (1.0 / (dk as f64).sqrt()) as f32;
        self.q.chunks_exact_mut(dk).for_each(|q| cpu.isa.delta_unit(q, scale));
        self.k.chunks_exact_mut(dk).for_each(|k| cpu.isa.delta_unit(k, 1.0));
        self.out.resize(self.v.len(), 0.0);
    }

    fn compute(&mut self, cpu: &Cpu, heads: Heads, at: usize, state: &mut [f32]) {
        let inputs = Inputs { q: &self.q, k: &self.k, v: &self.v, beta: &self.beta, g: &self.g };
        cpu.isa.delta_rows(heads, at, state, &inputs, &mut self.out);
    }

    /// Calls `put` with the place of each head's output in the rows of the layer, from row `first` on.
    fn scatter(&self, layer: &DeltaHeads, key: usize, first: usize, put: impl Fn(usize, &[f32])) {
        let Heads { value, count, .. } = self.heads;
        for (i, values) in self.out.chunks_exact(value).enumerate() {
            put((first + i / count) * layer.outputs() + layer.place(key, i % count) * value, values);
        }
    }
}

impl Cpu {
    /// Multiplies every row by signs of ±1, then transforms its blocks of `block` values: `H(signs · x)`. H is the
    /// normalised Walsh–Hadamard matrix.
    ///
    /// # Panics
    /// If `block` is not a power of two from 16 on that divides the rows, or there is not one sign for each column.
    pub fn hadamard(&self, x: &mut Rows, signs: &[f32], block: usize) {
        let dim = x.dim();
        self.pool.pieces(x.data_mut(), dim, |_, row| self.isa.hadamard(row, signs, block));
    }

    /// The inverse of [`Cpu::hadamard`]: `signs · H(x)`.
    ///
    /// # Panics
    /// As [`Cpu::hadamard`].
    pub fn hadamard_inverse(&self, x: &mut Rows, signs: &[f32], block: usize) {
        let dim = x.dim();
        self.pool.pieces(x.data_mut(), dim, |_, row| self.isa.hadamard_inverse(row, signs, block));
    }

    /// `x = x · sigmoid(gate)`
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn sigmoid_mul(&self, x: &mut Rows, gate: &Rows) {
        assert_eq!((x.len(), x.dim()), (gate.len(), gate.dim()), "same shape");
        let dim = x.dim();
        self.pool.pieces(x.data_mut(), dim, |i, x| self.isa.sigmoid_mul(x, gate.row(i)));
    }
}
