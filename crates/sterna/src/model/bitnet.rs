//! BitNet b1.58 2B4T (`BitNetForCausalLM`): sub-norms before `o_proj` and `down_proj`, gate through ReLU².
//!
//! Source: "BitNet b1.58 2B4T Technical Report" (arXiv 2504.12285) and `modeling_bitnet.py` of transformers.

use sterna_kernels::{Cpu, Rows};

use super::ffn::{Activation, Ffn};
use super::layers::{Frame, Linears, Loader, Norm};
use super::{Batch, Density, Head, KvCache, Model, Weights};
use crate::Result;
use crate::checkpoint::Config;

pub(super) struct Bitnet {
    frame: Frame,
    layers: Vec<Layer>,
}

struct Layer {
    attention_norm: Norm,
    qkv: Linears<3>,
    attention_sub_norm: Norm,
    o: Linears<1>,
    ffn_norm: Norm,
    ffn: Ffn,
}

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Model>> {
    Ok(Box::new(Bitnet::load(loader, Activation::Relu2)?))
}

impl Bitnet {
    pub fn load(loader: &Loader<'_>, activation: Activation) -> Result<Self> {
        let c = &loader.checkpoint.config;
        let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        let layer = |i: usize| {
            let at = |name: &str| format!("model.layers.{i}.{name}");
            let attention = at("self_attn");
            Ok(Layer {
                attention_norm: loader.norm(&at("input_layernorm"), c.hidden)?,
                qkv: loader.linears(&attention, ["q_proj", "k_proj", "v_proj"], [q, kv, kv], c.hidden)?,
                attention_sub_norm: loader.norm(&at("self_attn.attn_sub_norm"), q)?,
                o: loader.linears(&attention, ["o_proj"], [c.hidden], q)?,
                ffn_norm: loader.norm(&at("post_attention_layernorm"), c.hidden)?,
                ffn: Ffn::load(loader, i, activation)?,
            })
        };
        let layers = (0..c.layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { frame: loader.frame()?, layers })
    }
}

impl Model for Bitnet {
    fn forward(&self, cpu: &Cpu, batch: &Batch, kv: &mut KvCache) -> Rows {
        let mut h = self.frame.embedding.lookup(cpu, &batch.tokens);
        let rotation = self.frame.rope.at(&batch.positions);
        for (i, layer) in self.layers.iter().enumerate() {
            let x = layer.attention_norm.forward(cpu, &h);
            let [q, k, v] = layer.qkv.forward(cpu, &x);
            let (q, k) = (rotation.apply(cpu, q), rotation.apply(cpu, k));
            kv.store(cpu, i, batch, &k, &v);
            let a = kv.attend(cpu, i, batch, &q);
            let a = layer.attention_sub_norm.forward(cpu, &a);
            let [a] = layer.o.forward(cpu, &a);
            cpu.add(&mut h, &a);

            let x = layer.ffn_norm.forward(cpu, &h);
            let f = layer.ffn.forward(cpu, &x, &batch.positions);
            cpu.add(&mut h, &f);
        }
        self.frame.outputs(cpu, batch, &h)
    }

    fn config(&self) -> &Config {
        &self.frame.config
    }

    fn head(&self) -> &Head {
        &self.frame.head
    }

    fn weights(&self) -> Weights {
        let layers = self.layers.iter();
        let body = layers.map(|l| l.qkv.bytes() + l.o.bytes() + l.ffn.bytes()).sum();
        self.frame.weights(body)
    }

    fn density(&self) -> Vec<Density> {
        self.layers.iter().filter_map(|layer| layer.ffn.density()).collect()
    }
}
