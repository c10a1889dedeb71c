//! BitNet b1.58 2B4T (`BitNetForCausalLM`): sub-norms before `o_proj` and `down_proj`, gate through ReLU².
//!
//! Source: "BitNet b1.58 2B4T Technical Report" (arXiv 2504.12285) and `modeling_bitnet.py` of transformers.

use sterna_kernels::Rows;

use super::ffn::{Activation, Ffn};
use super::layers::{Linears, Loader, Norm};
use super::stack::{Layer, Stack, Step};
use super::{Density, KvCache, Network};
use crate::Result;
use crate::arch::{Arch, Config, Defaults, Slot, TemplateCorrection, decoder, refuse};

pub(super) struct Bitnet {
    attention_norm: Norm,
    qkv: Linears<3>,
    attention_sub_norm: Norm,
    o: Linears<1>,
    ffn_norm: Norm,
    ffn: Ffn,
}

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Network>> {
    Bitnet::load(loader, Activation::Relu2)
}

impl Bitnet {
    pub fn load(loader: &Loader<'_>, activation: Activation) -> Result<Box<dyn Network>> {
        Ok(Box::new(Stack::load(loader, |slots| {
            Ok(Self {
                attention_norm: loader.norm(slots.attention_norm())?,
                qkv: loader.linears([slots.q(), slots.k(), slots.v()])?,
                attention_sub_norm: loader.norm(slots.attention_sub_norm())?,
                o: loader.linears([slots.o()])?,
                ffn_norm: loader.norm(slots.ffn_norm())?,
                ffn: Ffn::load(loader, slots, activation)?,
            })
        })?))
    }
}

impl Layer for Bitnet {
    fn forward(&self, step: &Step<'_>, kv: &mut KvCache, h: &mut Rows) {
        let Step { cpu, batch, rotation, layer } = *step;
        let x = self.attention_norm.forward(cpu, h);
        let [q, k, v] = self.qkv.forward(cpu, &x);
        let (q, k) = (rotation.apply(cpu, q), rotation.apply(cpu, k));
        kv.store(cpu, layer, batch, &k, &v);
        let a = kv.attend(cpu, layer, self.mask(), batch, &q);
        let a = self.attention_sub_norm.forward(cpu, &a);
        let [a] = self.o.forward(cpu, &a);
        cpu.add(h, &a);

        let x = self.ffn_norm.forward(cpu, h);
        let f = self.ffn.forward(cpu, &x);
        cpu.add(h, &f);
    }

    fn bytes(&self) -> usize {
        self.qkv.bytes() + self.o.bytes() + self.ffn.bytes()
    }

    fn density(&self) -> Option<Density> {
        self.ffn.density()
    }
}

/// The tensors of 2B4T and of 1bitLLM's reproduction.
pub(super) fn tensors(config: &Config) -> Vec<Slot> {
    decoder::tensors(config, |l| {
        let attention = [l.attention_norm(), l.q(), l.k(), l.v(), l.attention_sub_norm(), l.o()];
        attention.into_iter().chain([l.ffn_norm(), l.gate(), l.up(), l.ffn_sub_norm(), l.down()]).collect()
    })
}

/// The architecture described in the module documentation.
pub static ARCH: Arch = Arch {
    name: "bitnet",
    title: "bitnet",
    hugging_face: &["BitNetForCausalLM", "BitnetForCausalLM"],
    model_types: &["bitnet"],
    gguf: &["bitnet-b1.58", "bitnet-25"],
    hidden_act: "relu2",
    defaults: Defaults { head_dim: None, rms_eps: 1e-5, rope_theta: 5e5 },
    tensors,
    refuse: refuse::decoder,
    details: |_, _| Ok(()),
    head: true,
    norms_from_zero: false,
    projection_norms: false,
    interleaved_qk: false,
    quantize_at_load: true,
    add_bos: true,
    template: Some(TemplateCorrection {
        wrong: "BITNETAssistant",
        // The template of 2B4T's Hugging Face repository, rewritten. The official GGUF file contains another template
        // ("Human: …BITNETAssistant: ").
        right: "{% for message in messages %}\
                {{ message['role'] | capitalize }}: {{ message['content'] | trim }}<|eot_id|>\
                {% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}",
    }),
};
