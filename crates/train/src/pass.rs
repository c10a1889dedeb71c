//! The forward pass of a batch, with the engine's own kernels, and the backward pass.
//!
//! ```text
//! h ─► norm ─► quantise ─► q k v ─► rotate ─► attend ─► norm ─► quantise ─► o ─► + h
//!   ─► norm ─► quantise ─► gate up ─► relu²· ─► norm ─► quantise ─► down ─► + h
//! ```

use sterna::checkpoint::Config;
use sterna::kernels::attention::backward as attention;
use sterna::kernels::gradient::{LossSums, LossTerms};
use sterna::kernels::{Cpu, Rows};
use sterna::model;
use sterna::model::kv::{KvCache, KvHeads, KvType, Layout, Mask, PAGE};
use sterna::model::rotation::{Rope, Rotation};

use crate::batch::Batch;
use crate::network::{Layer, Network};
use crate::precision::Precision;
use crate::weights::{self, Input, Weight};

/// Rows whose logits are in memory together.
const LOGITS: usize = 256;

/// Runs batches through networks of one shape.
pub struct Pass {
    config: Config,
    /// Rotations of every position.
    rotation: Rotation,
    /// Key/value cache of one layer; each layer overwrites the layer before.
    cache: KvCache,
}

/// Values that a layer keeps for its gradients.
struct LayerActivations {
    h: Rows,
    qkv: Input,
    q: Rows,
    k: Rows,
    v: Rows,
    attended: Rows,
    o: Input,
    h_ffn: Rows,
    gate_up: Input,
    gate: Rows,
    up: Rows,
    down: Input,
}

/// A batch on its way through the layers.
struct Run<'a> {
    cpu: &'a Cpu,
    precision: Precision,
    eps: f32,
    heads: attention::Heads,
    batch: &'a Batch,
    rotation: Rotation,
}

impl Pass {
    /// A pass for batches of sequences that fit into the context.
    pub fn new(config: &Config) -> Self {
        let positions: Vec<usize> = (0..config.context).collect();
        let &Config { kv_heads, head_dim, .. } = config;
        let cache = KvCache::new(Layout::new(KvType::F16, [KvHeads { count: kv_heads, dim: head_dim }]));
        Self { config: config.clone(), rotation: Rope::new(config).at(&positions), cache }
    }

    /// Logits of the rows `picked`: `(row, vocab)`.
    ///
    /// # Panics
    /// If the batch has more tokens than this pass was made for.
    pub fn logits(
        &mut self,
        cpu: &Cpu,
        weights: &Network<Weight>,
        precision: Precision,
        batch: &Batch,
        picked: &[usize],
    ) -> Rows {
        let hidden = self.hidden(cpu, weights, precision, batch);
        weights.embedding.embedding().logits(cpu, &hidden.select(picked))
    }

    /// Sums of the loss over the batch's targets.
    ///
    /// # Panics
    /// If the batch has more tokens than this pass was made for.
    pub fn loss(&mut self, cpu: &Cpu, weights: &Network<Weight>, precision: Precision, batch: &Batch) -> LossSums {
        let hidden = self.hidden(cpu, weights, precision, batch);
        score(cpu, weights, &hidden, batch, LossTerms { scale: 0.0, z: 0.0 }, |_, _, _| {})
    }

    /// Sums of the loss over the batch's targets. Adds the gradients of the loss to `gradients`, which are empty for
    /// frozen tensors.
    ///
    /// # Panics
    /// If the batch has more tokens than this pass was made for.
    pub fn gradients(
        &mut self,
        cpu: &Cpu,
        weights: &Network<Weight>,
        precision: Precision,
        batch: &Batch,
        terms: LossTerms,
        gradients: &mut Network<Vec<f32>>,
    ) -> LossSums {
        let run = self.run(cpu, precision, batch);
        let mut kept = Vec::with_capacity(weights.layers.len());
        let h = self.forward(&run, weights, |layer| kept.push(layer));
        let hidden = cpu.rms_norm(&h, weights.norm.norm(), run.eps);
        let (sums, dhidden) = head(cpu, weights, &hidden, batch, terms, &mut gradients.embedding);
        let mut dh = cpu.rms_norm_backward(&h, weights.norm.norm(), run.eps, &dhidden, None, &mut gradients.norm);
        let inverse = run.rotation.inverse();
        for ((layer, kept), gradients) in weights.layers.iter().zip(kept).zip(&mut gradients.layers).rev() {
            dh = run.layer_backward(layer, kept, &inverse, dh, gradients);
        }
        if gradients.embedding.is_empty() {
            return sums;
        }
        for (row, &token) in batch.tokens.iter().enumerate() {
            let gradient = &mut gradients.embedding[token as usize * h.dim()..][..h.dim()];
            gradient.iter_mut().zip(dh.row(row)).for_each(|(sum, d)| *sum += d);
        }
        sums
    }

    /// The input of the head: the normalised hidden states of every row.
    ///
    /// # Panics
    /// If the batch has more tokens than this pass was made for.
    pub fn hidden(&mut self, cpu: &Cpu, weights: &Network<Weight>, precision: Precision, batch: &Batch) -> Rows {
        let run = self.run(cpu, precision, batch);
        let h = self.forward(&run, weights, drop);
        cpu.rms_norm(&h, weights.norm.norm(), run.eps)
    }

    fn run<'a>(&self, cpu: &'a Cpu, precision: Precision, batch: &'a Batch) -> Run<'a> {
        let c = &self.config;
        let heads = attention::Heads { heads: c.heads, kv_heads: c.kv_heads, head_dim: c.head_dim };
        Run { cpu, precision, eps: c.rms_eps, heads, batch, rotation: self.rotation.select(&batch.positions()) }
    }

    /// Hidden states after the last layer. `keep` gets the values that each layer keeps for its gradients.
    fn forward(&mut self, run: &Run<'_>, weights: &Network<Weight>, mut keep: impl FnMut(LayerActivations)) -> Rows {
        let cpu = run.cpu;
        let (mut rows, mut first) = (model::Batch::default(), 0);
        for (number, sequence) in run.batch.sequences().enumerate() {
            let pages: Vec<usize> = (first..first + sequence.len().div_ceil(PAGE)).collect();
            first += pages.len();
            rows.push(number, &pages, 0, &run.batch.tokens[sequence]);
        }
        let mut h = weights.embedding.embedding().lookup(cpu, &run.batch.tokens);
        for layer in &weights.layers {
            let qkv = Input::normed(cpu, &h, layer.attention_norm.norm(), run.eps, run.precision);
            let [q, k, v] = weights::forward(cpu, [&layer.q, &layer.k, &layer.v], &qkv);
            let (q, k) = (run.rotation.apply(cpu, q), run.rotation.apply(cpu, k));
            self.cache.store(cpu, 0, &rows, &k, &v);
            let attended = self.cache.attend(cpu, 0, Mask::Causal, &rows, &q);
            let o = Input::normed(cpu, &attended, layer.attention_sub_norm.norm(), run.eps, run.precision);
            let [a] = weights::forward(cpu, [&layer.o], &o);
            let h_ffn = cpu.sum(&h, &a);

            let gate_up = Input::normed(cpu, &h_ffn, layer.ffn_norm.norm(), run.eps, run.precision);
            let [gate, up] = weights::forward(cpu, [&layer.gate, &layer.up], &gate_up);
            let down = Input::gated(cpu, &gate, &up, layer.ffn_sub_norm.norm(), run.eps, run.precision);
            let [f] = weights::forward(cpu, [&layer.down], &down);
            let h = std::mem::replace(&mut h, cpu.sum(&h_ffn, &f));
            keep(LayerActivations { h, qkv, q, k, v, attended, o, h_ffn, gate_up, gate, up, down });
        }
        h
    }
}

impl Run<'_> {
    /// Turns the gradient of a layer's output, `dh`, into the gradient of its input.
    fn layer_backward(
        &self,
        layer: &Layer<Weight>,
        kept: LayerActivations,
        inverse: &Rotation,
        dh: Rows,
        gradients: &mut Layer<Vec<f32>>,
    ) -> Rows {
        let (cpu, eps) = (self.cpu, self.eps);
        let LayerActivations { h, qkv, q, k, v, attended, o, h_ffn, gate_up, mut gate, mut up, down } = kept;
        let dx = weights::backward(cpu, [&layer.down], &down, [&dh], [&mut gradients.down]);
        let (gated, weight) = (cpu.relu2_product(&gate, &up), layer.ffn_sub_norm.norm());
        let dgated = cpu.rms_norm_backward(&gated, weight, eps, &dx, None, &mut gradients.ffn_sub_norm);
        cpu.relu2_mul_backward(&mut gate, &mut up, &dgated);
        let into = [&mut gradients.gate, &mut gradients.up];
        let dx = weights::backward(cpu, [&layer.gate, &layer.up], &gate_up, [&gate, &up], into);
        let weight = layer.ffn_norm.norm();
        let dh = cpu.rms_norm_backward(&h_ffn, weight, eps, &dx, Some(&dh), &mut gradients.ffn_norm);

        let dx = weights::backward(cpu, [&layer.o], &o, [&dh], [&mut gradients.o]);
        let weight = layer.attention_sub_norm.norm();
        let dattended = cpu.rms_norm_backward(&attended, weight, eps, &dx, None, &mut gradients.attention_sub_norm);
        let sequences: Vec<_> = self.batch.sequences().collect();
        let forward = attention::Forward { q: &q, k: &k, v: &v, out: &attended, dout: &dattended };
        let [dq, dk, dv] = attention::backward(cpu, self.heads, &sequences, &forward);
        let (dq, dk) = (inverse.apply(cpu, dq), inverse.apply(cpu, dk));
        let into = [&mut gradients.q, &mut gradients.k, &mut gradients.v];
        let dx = weights::backward(cpu, [&layer.q, &layer.k, &layer.v], &qkv, [&dq, &dk, &dv], into);
        cpu.rms_norm_backward(&h, layer.attention_norm.norm(), eps, &dx, Some(&dh), &mut gradients.attention_norm)
    }
}

/// The loss and the gradient of the head's input. Rows without a target have the gradient 0.
fn head(
    cpu: &Cpu,
    weights: &Network<Weight>,
    hidden: &Rows,
    batch: &Batch,
    terms: LossTerms,
    gradient: &mut [f32],
) -> (LossSums, Rows) {
    let mut dhidden = Rows::zeros(hidden.len(), hidden.dim());
    let sums = score(cpu, weights, hidden, batch, terms, |rows, picked, dlogits| {
        let d = weights.embedding.embedding().logits_backward(cpu, picked, dlogits, gradient);
        for (i, &row) in rows.iter().enumerate() {
            dhidden.row_mut(row).copy_from_slice(d.row(i));
        }
    });
    (sums, dhidden)
}

/// The loss, computed for some rows of logits at a time. `each` gets the row numbers, their hidden states and the
/// gradients of their logits.
fn score(
    cpu: &Cpu,
    weights: &Network<Weight>,
    hidden: &Rows,
    batch: &Batch,
    terms: LossTerms,
    mut each: impl FnMut(&[usize], &Rows, &Rows),
) -> LossSums {
    let mut sums = LossSums::default();
    let (rows, targets) = batch.scored();
    for (rows, targets) in rows.chunks(LOGITS).zip(targets.chunks(LOGITS)) {
        let picked = hidden.select(rows);
        let mut logits = weights.embedding.embedding().logits(cpu, &picked);
        sums = sums + cpu.cross_entropy(&mut logits, targets, terms);
        each(rows, &picked, &logits);
    }
    sums
}
