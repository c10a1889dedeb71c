//! Attention with a gate on every output, and heads that are rotated in part (Qwen3.5).
//!
//! Source: `Qwen3_5Attention` in `modeling_qwen3_5.py` of transformers.

use sterna_kernels::{Cpu, Rows};

use super::layers::{Linears, Loader, Norm};
use super::rotation::Rotation;
use super::{Batch, KvCache, Mask};
use crate::Result;
use crate::arch::decoder;

pub(super) struct GatedAttention {
    /// Number of the layer among those with attention.
    number: usize,
    head_dim: usize,
    /// Of each query head its queries, then its gates.
    qkv: Linears<3>,
    q_norm: Norm,
    k_norm: Norm,
    o: Linears<1>,
}

impl GatedAttention {
    pub fn load(loader: &Loader<'_>, slots: &decoder::Layer<'_>, number: usize) -> Result<Self> {
        Ok(Self {
            number,
            head_dim: slots.config.head_dim,
            qkv: loader.linears([slots.gated_q(), slots.k(), slots.v()])?,
            q_norm: loader.norm(slots.q_norm())?,
            k_norm: loader.norm(slots.k_norm())?,
            o: loader.linears([slots.o()])?,
        })
    }

    pub fn forward(&self, cpu: &Cpu, batch: &Batch, rotation: &Rotation, kv: &mut KvCache, x: &Rows) -> Rows {
        let [gated, k, v] = self.qkv.forward(cpu, x);
        let (q, gate) = self.split(&gated);
        let rotated = |x: Rows| rotation.apply_to_heads(cpu, x, self.head_dim);
        let (q, k) = (rotated(self.q_norm.heads(cpu, q)), rotated(self.k_norm.heads(cpu, k)));
        kv.store(cpu, self.number, batch, &k, &v);
        let mut a = kv.attend(cpu, self.number, Mask::Causal, batch, &q);
        cpu.sigmoid_mul(&mut a, &gate);
        let [y] = self.o.forward(cpu, &a);
        y
    }

    /// Queries and gates.
    fn split(&self, gated: &Rows) -> (Rows, Rows) {
        let (dim, n) = (self.head_dim, gated.len());
        let [mut q, mut gate] = [0, 1].map(|_| Rows::zeros(n, gated.dim() / 2));
        for row in 0..n {
            let heads = q.row_mut(row).chunks_exact_mut(dim).zip(gate.row_mut(row).chunks_exact_mut(dim));
            for (both, (q, gate)) in gated.row(row).chunks_exact(2 * dim).zip(heads) {
                q.copy_from_slice(&both[..dim]);
                gate.copy_from_slice(&both[dim..]);
            }
        }
        (q, gate)
    }

    /// Packed bytes of its matrices.
    pub fn bytes(&self) -> usize {
        self.qkv.bytes() + self.o.bytes()
    }
}
