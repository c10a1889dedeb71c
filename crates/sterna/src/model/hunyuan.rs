//! Dense Hunyuan models with ternary linears (`HunYuanDenseV1ForCausalLM`): Hy-MT. Llama with an RMS norm on every query and
//! key head after its rotation, and a rotary embedding of a base that `alpha` raises.
//!
//! Sources: `modeling_hunyuan_v1_dense.py` of transformers and `llama-model.cpp` of llama.cpp.

use sterna_kernels::math::pow64;

use super::Network;
use super::layers::Loader;
use super::llama::{self, HeadNorms, Llama};
use super::stack::Stack;
use crate::Result;
use crate::arch::{Arch, Config, Container, Defaults, Facts, Refusal, Slot, decoder};

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Network>> {
    Ok(Box::new(Stack::load(loader, |slots| {
        let [q, k] = head_norms(slots);
        Llama::load(loader, slots, Some(HeadNorms { q: loader.norm(q)?, k: loader.norm(k)?, rotated: true }))
    })?))
}

/// The norms of query and key heads, which have names of their own.
fn head_norms(l: &decoder::Layer<'_>) -> [Slot; 2] {
    let names = [(l.q_norm(), "self_attn.query_layernorm"), (l.k_norm(), "self_attn.key_layernorm")];
    names.map(|(slot, name)| l.called(slot, name))
}

/// Computes the base that belongs to `alpha`; GGUF files state the result.
fn details(facts: &Facts<'_>, config: &mut Config) -> Result<(), Refusal> {
    if facts.container == Container::Gguf {
        return Ok(());
    }
    for object in ["rope_scaling", "rope_parameters"] {
        if let Some(alpha) = facts.number(&format!("{object}.alpha"))? {
            if !(1.0..1e9).contains(&alpha) || config.head_dim <= 2 {
                return Err(Refusal::unsupported(format!("{object}.alpha = {alpha}")));
            }
            let dim = config.head_dim as f64;
            config.rope_theta *= pow64(alpha, dim / (dim - 2.0));
            return Ok(());
        }
    }
    Ok(())
}

/// The architecture described in the module documentation.
pub static ARCH: Arch = Arch {
    name: "hunyuan",
    title: "hunyuan",
    hugging_face: &["HunYuanDenseV1ForCausalLM"],
    model_types: &["hunyuan_v1_dense"],
    gguf: &["hunyuan-dense"],
    defaults: Defaults { head_dim: None, rms_eps: 1e-5, rope_theta: 1e4 },
    tensors: |config| {
        decoder::tensors(config, |l| {
            let attention = [l.attention_norm(), l.q(), l.k(), l.v()];
            let ffn = [l.o(), l.ffn_norm(), l.gate(), l.up(), l.down()];
            attention.into_iter().chain(head_norms(l)).chain(ffn).collect()
        })
    },
    details,
    interleaved_qk: false,
    ..llama::ARCH
};
