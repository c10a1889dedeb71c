//! Reference networks in f64, written from their definitions, for synthetic models: all norms have weights of 1.

use std::collections::BTreeMap;

use sterna::checkpoint::adapter::{Adapter, LowRank};
use sterna::checkpoint::{Checkpoint, Config};
use sterna::kernels::Cpu;
use sterna::kernels::layout::T16;
use sterna::kernels::math::{f16_to_f32, f32_to_f16};
use sterna::model::{BITNET, ONEBITLLM, Precision, QWEN3};

/// Shapes of the ternary layers by name.
pub fn layers(checkpoint: &Checkpoint) -> BTreeMap<String, [usize; 2]> {
    let projections = checkpoint.tensors().iter().filter_map(|(name, tensor)| {
        let layer = name.strip_suffix(".weight").filter(|layer| layer.ends_with("_proj"))?;
        Some((layer.to_owned(), <[usize; 2]>::try_from(&tensor.shape[..]).expect("a matrix")))
    });
    projections.collect()
}

/// A network and its adapter.
pub struct Naive<'a> {
    config: &'a Config,
    precision: Precision,
    embedding: Vec<Vec<f64>>,
    /// The weights of the linear layers by name: `[row][column]`.
    pub matrices: BTreeMap<String, Vec<Vec<f64>>>,
    adapter: &'a Adapter,
    /// Whether the adapter gets the rounded input: the mistake that the test must notice.
    pub rounded: bool,
}

impl<'a> Naive<'a> {
    pub fn new(checkpoint: &'a Checkpoint, cpu: &Cpu, adapter: &'a Adapter, precision: Precision) -> Self {
        let c = checkpoint.config();
        let embedding = checkpoint.dense("model.embed_tokens.weight", c.vocab, c.hidden).expect("an embedding");
        let embedding = embedding.lookup(cpu, &(0..c.vocab as u32).collect::<Vec<_>>());
        let embedding = (0..c.vocab).map(|i| embedding.row(i).iter().map(|&x| f64::from(x)).collect()).collect();
        let matrices = layers(checkpoint).into_iter().map(|(layer, [rows, cols])| {
            let matrix = checkpoint.ternary(cpu, &format!("{layer}.weight"), (rows, cols), &T16).expect("trits");
            let scale = f64::from(matrix.scale().expect("one scale"));
            let row = |r| matrix.trits(r).into_iter().map(|trit| f64::from(trit) * scale).collect();
            (layer, (0..rows).map(row).collect())
        });
        Self { config: c, precision, embedding, matrices: matrices.collect(), adapter, rounded: false }
    }

    fn linear(&self, layer: &str, x: &[f64]) -> Vec<f64> {
        let scale = 127.0 / x.iter().fold(1e-5f64, |max, x| max.max(x.abs()));
        let rounded: Vec<f64> = match self.precision {
            Precision::Int8 => x.iter().map(|x| (x * scale).round_ties_even() / scale).collect(),
            Precision::Int14 | Precision::Float32 => x.to_vec(),
        };
        let dot = |row: &Vec<f64>| row.iter().zip(&rounded).map(|(w, x)| w * x).sum::<f64>();
        let mut y: Vec<f64> = self.matrices[layer].iter().map(dot).collect();
        if let Some(LowRank { a, b }) = self.adapter.layers.get(layer) {
            let seen = if self.rounded { &rounded } else { x };
            for (j, a) in a.chunks(x.len()).enumerate() {
                let t: f64 = a.iter().zip(seen).map(|(a, x)| f64::from(*a) * x).sum();
                for (y, b) in y.iter_mut().zip(b.chunks(self.adapter.rank)) {
                    *y += self.adapter.alpha / self.adapter.rank as f64 * f64::from(b[j]) * t;
                }
            }
        }
        y
    }

    fn norm(&self, x: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        x.iter().map(|x| x / (mean + f64::from(self.config.rms_eps)).sqrt()).collect()
    }

    /// Applies the rotary embedding to the query or key heads of one position.
    fn turned(&self, x: &[f64], position: usize) -> Vec<f64> {
        let (dim, qwen) = (self.config.head_dim, *self.config.architecture == QWEN3);
        let head = |x: &[f64]| {
            let x = if qwen { self.norm(x) } else { x.to_vec() };
            let turn = |i: usize| {
                let k = i % (dim / 2);
                let angle = position as f64 * self.config.rope_theta.powf(-2.0 * k as f64 / dim as f64);
                let (sin, cos) = angle.sin_cos();
                if i < dim / 2 { x[i] * cos - x[i + dim / 2] * sin } else { x[i] * cos + x[k] * sin }
            };
            (0..dim).map(turn).collect::<Vec<_>>()
        };
        x.chunks(dim).flat_map(head).collect()
    }

    fn attend(&self, q: &[f64], keys: &[Vec<f64>], values: &[Vec<f64>]) -> Vec<f64> {
        let (dim, shared) = (self.config.head_dim, self.config.heads / self.config.kv_heads);
        let head = |(h, q): (usize, &[f64])| {
            let part = h / shared * dim..(h / shared + 1) * dim;
            let dot = |k: &Vec<f64>| q.iter().zip(&k[part.clone()]).map(|(q, k)| q * k).sum::<f64>();
            let weights: Vec<f64> = keys.iter().map(|k| (dot(k) / (dim as f64).sqrt()).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mean = |i| values.iter().zip(&weights).map(|(v, w)| v[i] * w).sum::<f64>() / total;
            part.map(mean).collect::<Vec<_>>()
        };
        q.chunks(dim).enumerate().flat_map(head).collect()
    }

    /// Logits after every token.
    pub fn logits(&self, tokens: &[u32]) -> Vec<f64> {
        let bitnet = [&BITNET, &ONEBITLLM].contains(&self.config.architecture);
        let half = |x: Vec<f64>| x.iter().map(|x| f64::from(f16_to_f32(f32_to_f16(*x as f32)))).collect::<Vec<_>>();
        let add = |h: &mut Vec<f64>, x: Vec<f64>| h.iter_mut().zip(x).for_each(|(h, x)| *h += x);
        let (mut caches, mut out) = (vec![(vec![], vec![]); self.config.layers], vec![]);
        for (position, &token) in tokens.iter().enumerate() {
            let mut h = self.embedding[token as usize].clone();
            for (i, (keys, values)) in caches.iter_mut().enumerate() {
                let linear = |name: &str, x: &[f64]| self.linear(&format!("model.layers.{i}.{name}_proj"), x);
                let x = self.norm(&h);
                keys.push(half(self.turned(&linear("self_attn.k", &x), position)));
                values.push(half(linear("self_attn.v", &x)));
                let a = self.attend(&self.turned(&linear("self_attn.q", &x), position), keys, values);
                add(&mut h, linear("self_attn.o", &if bitnet { self.norm(&a) } else { a }));
                let x = self.norm(&h);
                let activate = |g: f64| match self.config.architecture.hidden_act {
                    "relu2" => g.max(0.0) * g.max(0.0),
                    _ => g / (1.0 + (-g).exp()),
                };
                let (gate, up) = (linear("mlp.gate", &x), linear("mlp.up", &x));
                let f: Vec<f64> = gate.iter().zip(up).map(|(g, u)| activate(*g) * u).collect();
                add(&mut h, linear("mlp.down", &if bitnet { self.norm(&f) } else { f }));
            }
            let h = self.norm(&h);
            out.extend(self.embedding.iter().map(|row| row.iter().zip(&h).map(|(w, x)| w * x).sum::<f64>()));
        }
        out
    }
}
