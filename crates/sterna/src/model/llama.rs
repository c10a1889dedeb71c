//! Llama with ternary linears (`LlamaForCausalLM`): HF1BitLLM, Falcon3-1.58bit, Falcon-E.
//!
//! Source: `modeling_llama.py` of transformers, its linears replaced by `BitLinear`.

use sterna_kernels::{Cpu, Rows};

use super::layers::{Linears, Loader, Norm, scaled};
use super::stack::{Layer, Stack, Step};
use super::{KvCache, Network};
use crate::Result;
use crate::arch::{Arch, Defaults, decoder, refuse};

pub(super) struct Llama {
    attention_norm: Norm,
    qkv: Linears<3>,
    /// Present for Qwen3 and Hunyuan.
    head_norms: Option<HeadNorms>,
    o: Linears<1>,
    ffn_norm: Norm,
    gate_up: Linears<2>,
    down: Linears<1>,
    /// Factor of what attention and the feed-forward block add to the hidden state; MiniCPM's is not 1.
    pub branch: f32,
}

/// Norms applied to every query and key head.
pub(super) struct HeadNorms {
    pub q: Norm,
    pub k: Norm,
    /// Whether heads are normed after their rotation.
    pub rotated: bool,
}

impl HeadNorms {
    /// The normed heads of queries and keys.
    pub fn forward(&self, cpu: &Cpu, (q, k): (Rows, Rows)) -> (Rows, Rows) {
        (self.q.heads(cpu, q), self.k.heads(cpu, k))
    }
}

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Network>> {
    Ok(Box::new(Stack::load(loader, |slots| Llama::load(loader, slots, None))?))
}

impl Llama {
    pub fn load(loader: &Loader<'_>, slots: &decoder::Layer<'_>, head_norms: Option<HeadNorms>) -> Result<Self> {
        Ok(Self {
            attention_norm: loader.norm(slots.attention_norm())?,
            qkv: loader.projections(slots, [slots.q(), slots.k(), slots.v()])?,
            head_norms,
            o: loader.projections(slots, [slots.o()])?,
            ffn_norm: loader.norm(slots.ffn_norm())?,
            gate_up: loader.projections(slots, [slots.gate(), slots.up()])?,
            down: loader.projections(slots, [slots.down()])?,
            branch: 1.0,
        })
    }
}

impl Layer for Llama {
    fn forward(&self, step: &Step<'_>, kv: &mut KvCache, h: &mut Rows) {
        let Step { cpu, batch, rotation, layer } = *step;
        let x = self.attention_norm.forward(cpu, h);
        let [mut q, mut k, v] = self.qkv.forward(cpu, &x);
        let norms = self.head_norms.as_ref();
        if let Some(norms) = norms.filter(|norms| !norms.rotated) {
            (q, k) = norms.forward(cpu, (q, k));
        }
        (q, k) = (rotation.apply(cpu, q), rotation.apply(cpu, k));
        if let Some(norms) = norms.filter(|norms| norms.rotated) {
            (q, k) = norms.forward(cpu, (q, k));
        }
        kv.store(cpu, layer, batch, &k, &v);
        let a = kv.attend(cpu, layer, self.mask(), batch, &q);
        let [a] = self.o.forward(cpu, &a);
        cpu.add(h, &scaled(cpu, a, self.branch));

        let x = self.ffn_norm.forward(cpu, h);
        let [mut gate, up] = self.gate_up.forward(cpu, &x);
        cpu.silu_mul(&mut gate, &up);
        let [f] = self.down.forward(cpu, &gate);
        cpu.add(h, &scaled(cpu, f, self.branch));
    }

    fn bytes(&self) -> usize {
        self.qkv.bytes() + self.o.bytes() + self.gate_up.bytes() + self.down.bytes()
    }
}

/// The architecture described in the module documentation.
pub static ARCH: Arch = Arch {
    name: "llama",
    title: "llama",
    hugging_face: &["LlamaForCausalLM"],
    model_types: &["llama"],
    gguf: &["llama"],
    hidden_act: "silu",
    defaults: Defaults { head_dim: None, rms_eps: 1e-6, rope_theta: 1e4 },
    tensors: |config| {
        decoder::tensors(config, |l| {
            vec![l.attention_norm(), l.q(), l.k(), l.v(), l.o(), l.ffn_norm(), l.gate(), l.up(), l.down()]
        })
    },
    refuse: refuse::decoder,
    details: |_, _| Ok(()),
    head: true,
    norms_from_zero: false,
    projection_norms: false,
    interleaved_qk: true,
    quantize_at_load: false,
    add_bos: false,
    template: None,
};
