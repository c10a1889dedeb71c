//! Gated DeltaNet: a layer's recurrence in place of attention.
//!
//! ```text
//! x ─┬─► mixed ──► convolution, SiLU ──► q, k, v ──┐
//!    ├─► alpha, beta ──► decay, learning rate ─────┴─► delta rule ──► norm of each head ──► · silu(z) ──► out
//!    └─► z ────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Source: `Qwen3_5GatedDeltaNet` in `modeling_qwen3_5.py` of transformers. The arithmetic of the rule and its grid of
//! chunks are those of [`DeltaHeads`].

use sterna_kernels::math::{exp64, ln64};
use sterna_kernels::{Cpu, DeltaHeads, DeltaInputs, DenseMatrix, Rows};

use super::layers::{Linears, Loader, Norm};
use super::{Batch, Recurrent};
use crate::Result;
use crate::arch::hybrid::{self, Form};
use crate::arch::{Hybrid, decoder};

pub(super) struct Delta {
    /// Number of the layer among those with gated DeltaNet.
    number: usize,
    heads: DeltaHeads,
    mixed_z: Linears<2>,
    alpha: DenseMatrix,
    beta: DenseMatrix,
    /// The rate of each value head's decay, at most 0.
    rates: Vec<f32>,
    bias: Vec<f32>,
    /// `(tap, channel)`
    taps: Vec<f32>,
    norm: Norm,
    out: Linears<1>,
    /// Whether the input of `out` is in grouped order of value heads, and all else in tiled order.
    regroup: bool,
}

impl Delta {
    pub fn load(loader: &Loader<'_>, layer: decoder::Layer<'_>, hybrid: &Hybrid, number: usize) -> Result<Self> {
        let heads = hybrid.delta;
        let slots = hybrid::Delta { layer, heads };
        let hidden = layer.config.hidden;
        let mut rates = loader.values(&slots.decay())?;
        if hybrid.form != Form::Gguf {
            rates.iter_mut().for_each(|rate| *rate = -exp64(f64::from(*rate).clamp(-600.0, 80.0)) as f32);
        }
        // With a rate above 0 the memory would grow without end.
        let rates = rates.into_iter().map(|rate| rate.min(0.0)).collect();
        let stored = loader.values(&slots.convolution())?;
        let channels = heads.channels();
        let taps = (0..stored.len()).map(|i| stored[i % channels * heads.taps + i / channels]).collect();
        let grouped = hybrid.hadamard.as_ref().is_some_and(|hadamard| hadamard.grouped_values);
        Ok(Self {
            number,
            heads,
            mixed_z: loader.linears([slots.mixed(), slots.z()])?,
            alpha: loader.small(&slots.alpha(), (heads.values, hidden))?,
            beta: loader.small(&slots.beta(), (heads.values, hidden))?,
            rates,
            bias: loader.values(&slots.bias())?,
            taps,
            norm: loader.norm_as_stored(&slots.norm())?,
            out: loader.linears([slots.out()])?,
            regroup: heads.tiled && grouped,
        })
    }

    pub fn forward(&self, cpu: &Cpu, batch: &Batch, recurrent: &mut Recurrent, x: &Rows) -> Rows {
        let [mixed, mut z] = self.mixed_z.forward(cpu, x);
        let gates = self.gates(cpu, x);
        let (channels, width, outputs) = (mixed.dim(), gates.dim(), self.heads.outputs());
        let mut o = Rows::zeros(x.len(), outputs);
        recurrent.update(self.number, batch, |rows, state| {
            let Some(&position) = batch.positions.get(rows.start) else { return };
            let inputs = DeltaInputs {
                mixed: &mixed.data()[rows.start * channels..rows.end * channels],
                gates: &gates.data()[rows.start * width..rows.end * width],
                taps: &self.taps,
            };
            let out = &mut o.data_mut()[rows.start * outputs..rows.end * outputs];
            self.heads.compute(cpu, state, position, &inputs, out);
        });
        cpu.silu_mul(&mut z, &self.norm.heads(cpu, o));
        let z = if self.regroup { self.grouped(&z) } else { z };
        let [y] = self.out.forward(cpu, &z);
        y
    }

    /// Of every row: beta = sigmoid(b) of all value heads, then g = rate · softplus(a + bias), in f64.
    fn gates(&self, cpu: &Cpu, x: &Rows) -> Rows {
        let (a, b) = (self.alpha.matmul(cpu, x), self.beta.matmul(cpu, x));
        let heads = self.heads.values;
        let mut gates = Rows::zeros(x.len(), 2 * heads);
        cpu.pool().pieces(gates.data_mut(), 2 * heads, |row, gates| {
            let (beta, g) = gates.split_at_mut(heads);
            for head in 0..heads {
                beta[head] = (1.0 / (1.0 + exp64((-f64::from(b.row(row)[head])).clamp(-80.0, 80.0)))) as f32;
                let step = f64::from(a.row(row)[head]) + f64::from(self.bias[head]);
                let softplus = if step > 20.0 { step } else { ln64(1.0 + exp64(step.max(-80.0))) };
                g[head] = (f64::from(self.rates[head]) * softplus) as f32;
            }
        });
        gates
    }

    /// The rows with tiled value heads, in grouped order.
    fn grouped(&self, tiled: &Rows) -> Rows {
        let DeltaHeads { keys, values, value_dim, .. } = self.heads;
        let mut grouped = Rows::zeros(tiled.len(), tiled.dim());
        for row in 0..tiled.len() {
            for (head, out) in grouped.row_mut(row).chunks_exact_mut(value_dim).enumerate() {
                let (key, r) = (head / (values / keys), head % (values / keys));
                out.copy_from_slice(&tiled.row(row)[(key + keys * r) * value_dim..][..value_dim]);
            }
        }
        grouped
    }

    /// Packed bytes of its matrices.
    pub fn bytes(&self) -> usize {
        self.mixed_z.bytes() + self.out.bytes() + self.alpha.bytes() + self.beta.bytes()
    }
}
