//! 1bitLLM's reproduction of BitNet b1.58 (`BitnetForCausalLM`): the graph of 2B4T with SiLU.
//!
//! Its norms are called `inner_attn_ln` and `ffn_layernorm`; the checkpoint side gives them 2B4T's names.

use super::Model;
use super::bitnet::Bitnet;
use super::ffn::Activation;
use super::layers::Loader;
use crate::Result;

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Model>> {
    Ok(Box::new(Bitnet::load(loader, Activation::Silu)?))
}
