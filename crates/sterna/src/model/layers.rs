//! Building blocks shared by all architectures.

use std::sync::Arc;

use sterna_kernels::layout::{LayoutKind, T16};
use sterna_kernels::{Cpu, DenseMatrix, Matrix, Rows};

use super::hadamard::Hadamard;
use super::packed_head::PackedHead;
use super::rotation::Rope;
use super::update::Update;
use super::weight::{Weight, products};
use super::{Batch, GateHook, Head, Precision, Settings, Weights};
use crate::arch::{self, Config, Slot, decoder};
use crate::checkpoint::Checkpoint;
use crate::{Error, Result};

/// Loads the tensors of one network from a checkpoint.
pub(super) struct Loader<'a> {
    pub checkpoint: &'a Checkpoint,
    pub cpu: &'a Cpu,
    pub settings: Settings,
    /// The number type of the ternary layers' input.
    pub precision: Precision,
    /// Whether the scales of ternary layers belong to groups of columns.
    pub grouped: bool,
    pub gate_hook: Option<GateHook>,
}

impl Loader<'_> {
    /// Loads a ternary matrix, packed in this layout.
    pub fn matrix(&self, slot: &Slot, layout: &LayoutKind) -> Result<Matrix> {
        let (rows, cols) = slot.kind.shape();
        self.checkpoint.ternary(self.cpu, &slot.name, (rows, cols), layout)
    }

    /// Loads a ternary matrix in the form that its products read.
    pub fn weight(&self, slot: &Slot) -> Result<Weight> {
        if self.grouped {
            let grouped = self.checkpoint.grouped(self.cpu, &slot.name, slot.kind.shape(), self.unit());
            return grouped.map(Weight::Grouped);
        }
        self.matrix(slot, &T16).map(Weight::Ternary)
    }

    /// Adjacent columns of an input that belong together, a power of two.
    fn unit(&self) -> usize {
        self.rotations().map_or(1, |hadamard| hadamard.block)
    }

    /// The rotations of the model's weights.
    fn rotations(&self) -> Option<&arch::Hadamard> {
        self.checkpoint.config.hybrid.as_ref()?.hadamard.as_ref()
    }

    /// The rotation of the common input of some weights.
    fn rotation(&self, slots: &[Slot]) -> Result<Option<Hadamard>> {
        let Some(hadamard) = self.rotations() else { return Ok(None) };
        let rotated = slots.iter().filter(|slot| hadamard.rotates(slot)).count();
        match slots.first() {
            Some(slot) if rotated == slots.len() => Ok(Some(Hadamard::new(hadamard, slot.kind.shape().1))),
            Some(slot) if rotated > 0 => Err(Error::Unsupported {
                path: self.checkpoint.path().into(),
                what: format!("the rotation of some, but not all weights with the input of `{}`", slot.name),
                remedy: "use a file that rotates all or none of them".into(),
            }),
            _ => Ok(None),
        }
    }

    /// Loads a small array of numbers.
    pub fn values(&self, slot: &Slot) -> Result<Vec<f32>> {
        self.checkpoint.values(&slot.name, slot.kind.weights())
    }

    /// Loads a small matrix of numbers, as stored.
    pub fn small(&self, slot: &Slot, shape: (usize, usize)) -> Result<DenseMatrix> {
        self.checkpoint.small(&slot.name, shape)
    }

    /// Loads the adapter's update of a ternary layer, if there is one.
    pub fn update(&self, slot: &Slot) -> Update {
        Update::load(self.checkpoint, slot.name.trim_end_matches(".weight"))
    }

    /// Loads ternary layers that share their input.
    pub fn linears<const N: usize>(&self, slots: [Slot; N]) -> Result<Linears<N>> {
        self.normed_linears(slots, None)
    }

    /// Loads ternary layers that share their input, each with a norm of its own if the architecture has such norms.
    pub fn projections<const N: usize>(&self, slots: &decoder::Layer<'_>, all: [Slot; N]) -> Result<Linears<N>> {
        let norms = self.checkpoint.config.architecture.projection_norms;
        let norms = norms.then(|| all.each_ref().map(|slot| slots.norm_in(slot)));
        self.normed_linears(all, norms)
    }

    /// Loads ternary layers that share their input. With `norms`, each layer applies its own norm to it.
    pub fn normed_linears<const N: usize>(&self, slots: [Slot; N], norms: Option<[Slot; N]>) -> Result<Linears<N>> {
        let weights = slots.iter().map(|slot| self.weight(slot)).collect::<Result<_>>()?;
        let hadamard = self.rotation(&slots)?;
        let updates = slots.map(|slot| self.update(&slot));
        let norms = norms.into_iter().flatten().map(|slot| self.norm(slot)).collect::<Result<_>>()?;
        Ok(Linears { weights, updates, norms, hadamard, precision: self.precision })
    }

    /// Loads the weights of an RMS norm.
    pub fn norm(&self, slot: Slot) -> Result<Norm> {
        let mut norm = self.norm_as_stored(&slot)?;
        if let Some(hybrid) = &self.checkpoint.config.hybrid {
            norm.weight.iter_mut().for_each(|weight| *weight += hybrid.form.norm_offset());
        }
        Ok(norm)
    }

    /// Loads the weights of an RMS norm that are stored as they are used.
    pub fn norm_as_stored(&self, slot: &Slot) -> Result<Norm> {
        let weight = self.checkpoint.vector(&slot.name, slot.kind.weights())?;
        Ok(Norm { weight, eps: self.checkpoint.config.rms_eps })
    }

    /// Loads the parts around the layers: embedding, final norm and head.
    pub fn frame(&self) -> Result<Frame> {
        let config = &self.checkpoint.config;
        let table = |slot: Slot| self.checkpoint.table(self.cpu.pool(), &slot.name, slot.kind.shape());
        let embedding = table(decoder::embedding(config))?;
        let stored = || if config.tied { Ok(embedding.clone()) } else { table(decoder::head(config)) };
        let head = if config.architecture.head { Some(self.head(stored)?) } else { None };
        let norm = self.norm(decoder::final_norm(config))?;
        let (rope, window_rope) = (Rope::new(config), Rope::of_windows(config));
        let (embedding_factor, head_factor) = (1.0, 1.0);
        Ok(Frame { config: config.clone(), embedding, embedding_factor, rope, window_rope, norm, head_factor, head })
    }

    /// The head: packed if its weights are trits, otherwise with the rows `stored`.
    fn head(&self, stored: impl FnOnce() -> Result<DenseMatrix>) -> Result<Head> {
        let slot = decoder::head(&self.checkpoint.config);
        let precision = if self.grouped { self.precision } else { Precision::Int14 };
        let rotations = self.rotations().filter(|hadamard| hadamard.tied || hadamard.rotates(&slot));
        let hadamard = rotations.map(|hadamard| Hadamard::new(hadamard, slot.kind.shape().1));
        let packed = self.checkpoint.packed_head(self.cpu, &slot.name, slot.kind.shape(), self.unit())?;
        match packed.zip(self.checkpoint.tensors().get(&slot.name)) {
            Some((matrix, tensor)) => {
                let (matrix, format) = (Arc::new(matrix), tensor.data.format());
                Ok(Head::packed(PackedHead { matrix, format, precision, hadamard }))
            }
            None if hadamard.is_some() => Err(Error::Unsupported {
                path: self.checkpoint.path().into(),
                what: format!("a rotated head whose weights are not ternary (`{}`)", slot.name),
                remedy: "use a file whose head is ternary, or is not rotated".into(),
            }),
            None => Ok(Head::new(self.cpu, stored()?, self.settings.head)),
        }
    }
}

/// `N` ternary layers with the same input. The input is quantised once, or once per layer if each has its own norm.
pub(super) struct Linears<const N: usize> {
    weights: Vec<Weight>,
    updates: [Update; N],
    /// One per layer, or empty.
    norms: Vec<Norm>,
    /// The rotation of the input, if the weights were rotated.
    hadamard: Option<Hadamard>,
    precision: Precision,
}

impl<const N: usize> Linears<N> {
    /// Computes one `(token, rows)` result per layer.
    ///
    /// An adapter gets `x` before the layer's norm, as in PEFT, and before its rotation.
    pub fn forward(&self, cpu: &Cpu, x: &Rows) -> [Rows; N] {
        let mut outs = if self.norms.is_empty() {
            let rotated = self.hadamard.as_ref().map(|hadamard| hadamard.forward(cpu, x));
            let weights: Vec<_> = self.weights.iter().collect();
            products(cpu, &weights, rotated.as_ref().unwrap_or(x), self.precision)
        } else {
            let layers = self.weights.iter().zip(&self.norms);
            layers.flat_map(|(w, norm)| products(cpu, &[w], &norm.forward(cpu, x), self.precision)).collect()
        };
        for (update, out) in self.updates.iter().zip(&mut outs) {
            update.add(cpu, x, out);
        }
        outs.try_into().expect("one result per layer")
    }

    /// Packed bytes of all `N` layers and of their adapters.
    pub fn bytes(&self) -> usize {
        self.weights.iter().map(Weight::bytes).chain(self.updates.iter().map(Update::bytes)).sum()
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

    /// Applies the norm to each head of each row: `(token, heads · head_dim)`.
    pub fn heads(&self, cpu: &Cpu, x: Rows) -> Rows {
        let dim = x.dim();
        self.forward(cpu, &x.reshape(self.weight.len())).reshape(dim)
    }
}

/// `x · factor`
pub(super) fn scaled(cpu: &Cpu, mut x: Rows, factor: f32) -> Rows {
    if factor != 1.0 {
        cpu.scale(&mut x, factor);
    }
    x
}

/// The parts before and after the layers.
pub(super) struct Frame {
    pub config: Config,
    pub embedding: DenseMatrix,
    /// Factor of a token's embedding.
    pub embedding_factor: f32,
    pub rope: Rope,
    /// The rotary embedding of layers with a window.
    pub window_rope: Option<Rope>,
    norm: Norm,
    /// Factor of the head's input.
    pub head_factor: f32,
    /// `None` for a network that only embeds.
    pub head: Option<Head>,
}

impl Frame {
    /// The embeddings of a batch's tokens.
    pub fn embedded(&self, cpu: &Cpu, batch: &Batch) -> Rows {
        scaled(cpu, self.embedding.lookup(cpu, &batch.tokens), self.embedding_factor)
    }

    /// The final norm of the rows that the batch requests: the input of the head.
    pub fn outputs(&self, cpu: &Cpu, batch: &Batch, h: &Rows) -> Rows {
        scaled(cpu, self.norm.forward(cpu, &h.select(&batch.outputs)), self.head_factor)
    }

    /// The weight bytes, given the bytes of the body.
    pub fn weights(&self, body_bytes: usize) -> Weights {
        Weights { body_bytes, head_bytes: self.head.as_ref().map_or(0, Head::bytes) }
    }
}

#[cfg(test)]
mod tests {
    use sterna_kernels::format::F32;
    use sterna_kernels::sets;

    use super::*;
    use crate::arch::RopeScaling;
    use crate::checkpoint::Data;
    use crate::model::LLAMA;

    const CONFIG: Config = Config {
        architecture: &LLAMA,
        hidden: 40,
        intermediate: 48,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head_dim: 20,
        vocab: 8,
        context: 16,
        rms_eps: 1e-5,
        rope_theta: 1e4,
        rope_scaling: RopeScaling::None,
        pooling: None,
        windows: None,
        scalings: None,
        tied: true,
        eos: Vec::new(),
        hybrid: None,
    };

    /// Two projections with different norms give the same results as each projection with its own normed input.
    #[test]
    fn every_projection_may_have_a_norm() {
        let cpu = Cpu::with(sets::portable(), 1);
        let layer = decoder::Layer { config: &CONFIG, number: 0 };
        let norms = [layer.attention_norm(), layer.ffn_norm()];
        let mut checkpoint = Checkpoint::synthetic(CONFIG, &F32, 3).expect("possible");
        for (i, norm) in norms.iter().enumerate() {
            let weights = (0..40).flat_map(|k| (1.0 + (k * (i + 2) % 7) as f32).to_le_bytes()).collect::<Vec<u8>>();
            let tensor = checkpoint.tensors.get_mut(&norm.name).expect("a norm");
            tensor.data = Data::Dense { format: &F32, bytes: weights.into() };
        }
        let x = Rows::from_vec(40, (0..120).map(|i| (i as f32 * 0.37).sin()).collect());
        for precision in [Precision::Int8, Precision::Float32] {
            let loader = Loader {
                checkpoint: &checkpoint,
                cpu: &cpu,
                settings: Settings::default(),
                precision,
                grouped: false,
                gate_hook: None,
            };
            let both = loader.normed_linears([layer.q(), layer.k()], Some(norms.clone())).expect("loads");
            let [q, k] = both.forward(&cpu, &x);
            let alone = |slot: Slot, norm: &Slot| {
                let x = loader.norm(norm.clone()).expect("a norm").forward(&cpu, &x);
                let [out] = loader.linears([slot]).expect("loads").forward(&cpu, &x);
                out
            };
            assert_eq!(q.data(), alone(layer.q(), &norms[0]).data());
            assert_eq!(k.data(), alone(layer.k(), &norms[1]).data());
            let [plain, _] = loader.linears([layer.q(), layer.k()]).expect("loads").forward(&cpu, &x);
            assert_ne!(q.data(), plain.data(), "the norm does something");
        }
    }
}
