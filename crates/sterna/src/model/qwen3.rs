//! Qwen3 with ternary linears (`Qwen3ForCausalLM`): Llama with an RMS norm on every query and key head.
//!
//! Source: `modeling_qwen3.py` of transformers, its linears replaced by `BitLinear`.

use super::Network;
use super::layers::Loader;
use super::llama::{HeadNorms, Llama};
use super::stack::Stack;
use crate::Result;
use crate::arch::{Arch, Defaults, Slot, decoder, refuse};

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Network>> {
    Ok(Box::new(Stack::load(loader, |slots| {
        let norms = HeadNorms { q: loader.norm(slots.q_norm())?, k: loader.norm(slots.k_norm())?, rotated: false };
        Llama::load(loader, slots, Some(norms))
    })?))
}

/// The tensors of one layer.
pub(super) fn layer(l: &decoder::Layer<'_>) -> Vec<Slot> {
    let attention = [l.attention_norm(), l.q(), l.k(), l.v(), l.q_norm(), l.k_norm(), l.o()];
    attention.into_iter().chain([l.ffn_norm(), l.gate(), l.up(), l.down()]).collect()
}

/// The architecture described in the module documentation.
pub static ARCH: Arch = Arch {
    name: "qwen3",
    title: "qwen3",
    hugging_face: &["Qwen3ForCausalLM"],
    model_types: &["qwen3"],
    gguf: &["qwen3"],
    hidden_act: "silu",
    defaults: Defaults { head_dim: Some(128), rms_eps: 1e-6, rope_theta: 1e4 },
    tensors: |config| decoder::tensors(config, layer),
    refuse: refuse::decoder,
    details: |_, _| Ok(()),
    head: true,
    norms_from_zero: false,
    projection_norms: false,
    interleaved_qk: false,
    quantize_at_load: false,
    add_bos: false,
    template: None,
};
