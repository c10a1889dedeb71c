//! Llama with ternary linears (`LlamaForCausalLM`): HF1BitLLM, Falcon3-1.58bit, Falcon-E.
//!
//! Source: `modeling_llama.py` of transformers, its linears replaced by `BitLinear`.

use sterna_kernels::{Cpu, Rows};

use super::layers::{Frame, Linears, Loader, Norm};
use super::{Batch, Head, KvCache, Model, Weights};
use crate::Result;
use crate::checkpoint::Config;

struct Llama {
    frame: Frame,
    layers: Vec<Layer>,
}

struct Layer {
    attention_norm: Norm,
    qkv: Linears<3>,
    o: Linears<1>,
    ffn_norm: Norm,
    gate_up: Linears<2>,
    down: Linears<1>,
}

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Model>> {
    let c = &loader.checkpoint.config;
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let layer = |i: usize| {
        let at = |name: &str| format!("model.layers.{i}.{name}");
        let (attention, mlp) = (at("self_attn"), at("mlp"));
        Ok(Layer {
            attention_norm: loader.norm(&at("input_layernorm"), c.hidden)?,
            qkv: loader.linears(&attention, ["q_proj", "k_proj", "v_proj"], [q, kv, kv], c.hidden)?,
            o: loader.linears(&attention, ["o_proj"], [c.hidden], q)?,
            ffn_norm: loader.norm(&at("post_attention_layernorm"), c.hidden)?,
            gate_up: loader.linears(&mlp, ["gate_proj", "up_proj"], [c.intermediate; 2], c.hidden)?,
            down: loader.linears(&mlp, ["down_proj"], [c.hidden], c.intermediate)?,
        })
    };
    let layers = (0..c.layers).map(layer).collect::<Result<_>>()?;
    Ok(Box::new(Llama { frame: loader.frame()?, layers }))
}

impl Model for Llama {
    fn forward(&self, cpu: &Cpu, batch: &Batch, kv: &mut KvCache) -> Rows {
        let mut h = self.frame.embedding.lookup(cpu, &batch.tokens);
        let rotation = self.frame.rope.at(&batch.positions);
        for (i, layer) in self.layers.iter().enumerate() {
            let x = layer.attention_norm.forward(cpu, &h);
            let [q, k, v] = layer.qkv.forward(cpu, &x);
            let (q, k) = (rotation.apply(cpu, q), rotation.apply(cpu, k));
            kv.store(cpu, i, batch, &k, &v);
            let a = kv.attend(cpu, i, batch, &q);
            let [a] = layer.o.forward(cpu, &a);
            cpu.add(&mut h, &a);

            let x = layer.ffn_norm.forward(cpu, &h);
            let [mut gate, up] = layer.gate_up.forward(cpu, &x);
            cpu.silu_mul(&mut gate, &up);
            let [f] = layer.down.forward(cpu, &gate);
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
        let body = layers.map(|l| l.qkv.bytes() + l.o.bytes() + l.gate_up.bytes() + l.down.bytes()).sum();
        self.frame.weights(body)
    }
}
