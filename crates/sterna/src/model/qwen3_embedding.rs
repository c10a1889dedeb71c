//! BitNet's embedding model of 0.6 billion weights (`Qwen3Model`): Qwen3 with an RMS norm inside every projection, and
//! without a head.
//!
//! Source: model card and converter of BitNet-embedding (microsoft/BitNet).

use super::qwen3;
use crate::arch::{Arch, Kind, Slot, decoder, refuse};

pub(super) use super::qwen3::load;

/// The layer's projections, each after the norm of its input.
pub(super) fn with_norms(layer: &decoder::Layer<'_>, slots: Vec<Slot>) -> Vec<Slot> {
    let normed = |slot: Slot| match slot.kind {
        Kind::Ternary { .. } => vec![layer.norm_in(&slot), slot],
        _ => vec![slot],
    };
    slots.into_iter().flat_map(normed).collect()
}

/// The architecture described in the module documentation.
pub static ARCH: Arch = Arch {
    name: "qwen3-embedding",
    title: "qwen3 (BitNet embedding)",
    hugging_face: &["Qwen3Model", "Qwen3ForCausalLM"],
    tensors: |config| decoder::tensors(config, |layer| with_norms(layer, qwen3::layer(layer))),
    refuse: refuse::normed_decoder,
    head: false,
    projection_norms: true,
    quantize_at_load: true,
    ..qwen3::ARCH
};
