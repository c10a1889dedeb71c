//! 1bitLLM's reproduction of BitNet b1.58 (`BitnetForCausalLM`): the graph of 2B4T with SiLU.
//!
//! Its sub-norms are called `inner_attn_ln` and `ffn_layernorm`; these are aliases of 2B4T's names.

use super::Network;
use super::bitnet::{self, Bitnet};
use super::ffn::Activation;
use super::layers::Loader;
use crate::Result;
use crate::arch::{Arch, Container, Defaults, Facts, Refusal, refuse};

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Network>> {
    Bitnet::load(loader, Activation::Silu)
}

/// A fork of llama.cpp uses the name `bitnet` for another network.
fn refuse(facts: &Facts<'_>) -> Result<(), Refusal> {
    refuse::decoder(facts)?;
    let sub_norm = "blk.0.attn_sub_norm.weight";
    if facts.container == Container::Gguf && !facts.has_tensor(sub_norm) {
        return Err(Refusal::unsupported(format!("the architecture `bitnet` without `{sub_norm}`")));
    }
    Ok(())
}

/// The architecture described in the module documentation.
pub static ARCH: Arch = Arch {
    name: "onebitllm",
    title: "bitnet (1bitLLM)",
    hugging_face: &["BitNetForCausalLM", "BitnetForCausalLM"],
    model_types: &["bitnet"],
    gguf: &["bitnet"],
    hidden_act: "silu",
    defaults: Defaults { head_dim: None, rms_eps: 1e-5, rope_theta: 1e4 },
    tensors: bitnet::tensors,
    refuse,
    details: |_, _| Ok(()),
    head: true,
    norms_from_zero: false,
    projection_norms: false,
    interleaved_qk: false,
    quantize_at_load: true,
    add_bos: false,
    template: None,
};
