//! The parts every architecture is made of.

use sterna_kernels::{Activations, Cpu, DenseMatrix, Packed, Rows, TernaryMatrix, ternary};

use super::rotation::Rope;
use super::update::Update;
use super::{Batch, Head, Precision, Settings, Weights};
use crate::Result;
use crate::checkpoint::{Checkpoint, Config};

/// Reads the parts of one network from a checkpoint.
pub(super) struct Loader<'a> {
    pub checkpoint: &'a Checkpoint,
    pub cpu: &'a Cpu,
    pub settings: Settings,
}

impl Loader<'_> {
    /// Ternary layers that share their input: names under `prefix`, and the rows of each.
    pub fn linears<const N: usize>(
        &self,
        prefix: &str,
        names: [&str; N],
        rows: [usize; N],
        cols: usize,
    ) -> Result<Linears<N>> {
        let matrices = names
            .iter()
            .zip(rows)
            .map(|(name, rows)| self.checkpoint.ternary(self.cpu, &format!("{prefix}.{name}.weight"), rows, cols));
        let matrices = matrices.collect::<Result<_>>()?;
        let updates = names.map(|name| Update::load(self.checkpoint, &format!("{prefix}.{name}")));
        Ok(Linears { matrices, updates, precision: self.settings.precision })
    }

    /// The weights of an RMS norm.
    pub fn norm(&self, name: &str, len: usize) -> Result<Norm> {
        let weight = self.checkpoint.vector(&format!("{name}.weight"), len)?;
        Ok(Norm { weight, eps: self.checkpoint.config.rms_eps })
    }

    /// Everything around the layers: embedding, final norm, head.
    pub fn frame(&self) -> Result<Frame> {
        let config = &self.checkpoint.config;
        let embedding = self.checkpoint.dense("model.embed_tokens.weight", config.vocab, config.hidden)?;
        let head = if config.tied {
            embedding.clone()
        } else {
            self.checkpoint.dense("lm_head.weight", config.vocab, config.hidden)?
        };
        let norm = self.norm("model.norm", config.hidden)?;
        let rope = Rope::new(config.head_dim, config.rope_theta);
        Ok(Frame { config: config.clone(), embedding, rope, norm, head: Head::new(self.cpu, head, self.settings.head) })
    }
}

/// `N` ternary layers with the same input, quantised once.
pub(super) struct Linears<const N: usize> {
    matrices: Vec<TernaryMatrix>,
    updates: [Update; N],
    precision: Precision,
}

impl<const N: usize> Linears<N> {
    /// One `(token, rows)` result a layer.
    pub fn forward(&self, cpu: &Cpu, x: &Rows) -> [Rows; N] {
        let matrices: Vec<_> = self.matrices.iter().collect();
        let mut outs = match self.precision {
            Precision::Int8 => ternary::matmul(cpu, &matrices, &Activations::quantize(cpu, x)),
            Precision::Float32 => ternary::matmul_f32(cpu, &matrices, x),
        };
        for (update, out) in self.updates.iter().zip(&mut outs) {
            update.add(cpu, x, out);
        }
        outs.try_into().expect("one result a layer")
    }

    /// Packed bytes of all `N`, and of what is added to them.
    pub fn bytes(&self) -> usize {
        self.matrices.iter().map(Packed::bytes).chain(self.updates.iter().map(Update::bytes)).sum()
    }
}

/// RMS norm: `w · (x / sqrt(mean(x²) + eps))`.
pub(super) struct Norm {
    weight: Vec<f32>,
    eps: f32,
}

impl Norm {
    pub fn forward(&self, cpu: &Cpu, x: &Rows) -> Rows {
        cpu.rms_norm(x, &self.weight, self.eps)
    }

    /// The norm of each head of each row: `(token, heads · head_dim)`.
    pub fn heads(&self, cpu: &Cpu, x: Rows) -> Rows {
        let dim = x.dim();
        self.forward(cpu, &x.reshape(self.weight.len())).reshape(dim)
    }
}

/// What stands before and after the layers.
pub(super) struct Frame {
    pub config: Config,
    pub embedding: DenseMatrix,
    pub rope: Rope,
    norm: Norm,
    pub head: Head,
}

impl Frame {
    /// What the head reads of the rows the batch asks for: their final norm.
    pub fn outputs(&self, cpu: &Cpu, batch: &Batch, h: &Rows) -> Rows {
        self.norm.forward(cpu, &h.select(&batch.outputs))
    }

    /// Weight bytes with a body of `body_bytes`.
    pub fn weights(&self, body_bytes: usize) -> Weights {
        Weights { body_bytes, head_bytes: self.head.bytes() }
    }
}
