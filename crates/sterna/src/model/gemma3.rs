//! BitNet's embedding model of 270 million weights (`Gemma3TextModel`): Gemma 3 with an RMS norm inside every projection,
//! and without a head.
//!
//! ```text
//! h = √hidden · embedding
//! h = h + norm(attention(norm(h)))        most layers attend to a window, and have a rotary embedding of their own
//! h = h + norm(down(gelu(gate) · up))     of norm(h)
//! ```
//!
//! Sources: `modeling_gemma3.py` of transformers, `llama-model.cpp` of llama.cpp, the converter of microsoft/BitNet.

use sterna_kernels::Rows;

use super::layers::{Linears, Loader, Norm};
use super::llama::HeadNorms;
use super::qwen3_embedding::with_norms;
use super::stack::{Layer, Stack, Step};
use super::{KvCache, Mask, Network};
use crate::Result;
use crate::arch::{Arch, Config, Container, Defaults, Facts, Refusal, Slot, Windows, decoder, refuse};

struct Gemma3 {
    mask: Mask,
    attention_norm: Norm,
    qkv: Linears<3>,
    head_norms: HeadNorms,
    o: Linears<1>,
    attention_post_norm: Norm,
    ffn_norm: Norm,
    gate_up: Linears<2>,
    down: Linears<1>,
    ffn_post_norm: Norm,
}

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Network>> {
    let config = &loader.checkpoint.config;
    let stack = Stack::load(loader, |slots| {
        let windows = config.windows.filter(|windows| windows.has(slots.number));
        Ok(Gemma3 {
            mask: windows.map_or(Mask::Causal, |windows| Mask::Window(windows.positions)),
            attention_norm: loader.norm(slots.attention_norm())?,
            qkv: loader.projections(slots, [slots.q(), slots.k(), slots.v()])?,
            head_norms: HeadNorms { q: loader.norm(slots.q_norm())?, k: loader.norm(slots.k_norm())?, rotated: false },
            o: loader.projections(slots, [slots.o()])?,
            attention_post_norm: loader.norm(slots.attention_post_norm())?,
            ffn_norm: loader.norm(slots.ffn_pre_norm())?,
            gate_up: loader.projections(slots, [slots.gate(), slots.up()])?,
            down: loader.projections(slots, [slots.down()])?,
            ffn_post_norm: loader.norm(slots.ffn_post_norm())?,
        })
    })?;
    Ok(Box::new(stack.scaled((config.hidden as f32).sqrt(), 1.0)))
}

impl Layer for Gemma3 {
    fn forward(&self, step: &Step<'_>, kv: &mut KvCache, h: &mut Rows) {
        let Step { cpu, batch, rotation, layer } = *step;
        let x = self.attention_norm.forward(cpu, h);
        let [q, k, v] = self.qkv.forward(cpu, &x);
        let (q, k) = self.head_norms.forward(cpu, (q, k));
        let (q, k) = (rotation.apply(cpu, q), rotation.apply(cpu, k));
        kv.store(cpu, layer, batch, &k, &v);
        let a = kv.attend(cpu, layer, self.mask, batch, &q);
        let [a] = self.o.forward(cpu, &a);
        cpu.add(h, &self.attention_post_norm.forward(cpu, &a));

        let x = self.ffn_norm.forward(cpu, h);
        let [mut gate, up] = self.gate_up.forward(cpu, &x);
        cpu.gelu_mul(&mut gate, &up);
        let [f] = self.down.forward(cpu, &gate);
        cpu.add(h, &self.ffn_post_norm.forward(cpu, &f));
    }

    fn mask(&self) -> Mask {
        self.mask
    }

    fn bytes(&self) -> usize {
        self.qkv.bytes() + self.o.bytes() + self.gate_up.bytes() + self.down.bytes()
    }
}

fn tensors(l: &decoder::Layer<'_>) -> Vec<Slot> {
    let attention = [l.attention_norm(), l.q(), l.k(), l.v(), l.q_norm(), l.k_norm(), l.o(), l.attention_post_norm()];
    let ffn = [l.ffn_pre_norm(), l.gate(), l.up(), l.down(), l.ffn_post_norm()];
    with_norms(l, attention.into_iter().chain(ffn).collect())
}

/// Reads the windows. A GGUF file without their keys has none, as in bitnet.cpp.
fn details(facts: &Facts<'_>, config: &mut Config) -> Result<(), Refusal> {
    /// Base of the rotary embedding in windows, and layers from one without a window to the next, if a file does not say.
    const DEFAULTS: (f64, f64) = (1e4, 6.0);
    let number = |keys: &[&str]| -> Result<Option<f64>, Refusal> {
        keys.iter().find_map(|key| facts.number(key).transpose()).transpose()
    };
    let scalar = number(&["query_pre_attn_scalar"])?.filter(|scalar| *scalar != config.head_dim as f64);
    if let Some(scalar) = scalar {
        return Err(Refusal::unsupported(format!("query_pre_attn_scalar = {scalar}, other than the head size")));
    }
    let positions = match facts.container {
        Container::Gguf => number(&["attention.sliding_window"])?.filter(|positions| *positions > 0.0),
        Container::HuggingFace => number(&["sliding_window"])?,
    };
    let Some(positions) = positions else { return Ok(()) };
    let period = number(&["attention.sliding_window_pattern", "sliding_window_pattern", "_sliding_window_pattern"])?;
    let theta =
        number(&["rope.freq_base_swa", "rope_local_base_freq", "rope_parameters.sliding_attention.rope_theta"])?;
    if facts.container == Container::HuggingFace
        && let Some(full) = number(&["rope_parameters.full_attention.rope_theta"])?
    {
        config.rope_theta = full;
    }
    let mut period = period.unwrap_or(DEFAULTS.1) as usize;
    let kinds = facts.texts("layer_types");
    if !kinds.is_empty() {
        let whole = |kind: &&str| *kind == "full_attention";
        period = kinds.iter().position(whole).unwrap_or(kinds.len()) + 1;
        let repeats = kinds.iter().enumerate().all(|(layer, kind)| whole(kind) == ((layer + 1) % period == 0));
        if !repeats || kinds.len() != config.layers {
            return Err(Refusal::unsupported("layers with and without windows in an irregular order (layer_types)"));
        }
    }
    config.windows = Some(Windows { positions: positions as usize, period, rope_theta: theta.unwrap_or(DEFAULTS.0) });
    Ok(())
}

/// Refuses what other networks of Gemma's family have.
fn refuse(facts: &Facts<'_>) -> Result<(), Refusal> {
    let caps = ["attn_logit_softcapping", "final_logit_softcapping"].map(|key| match facts.number(key)? {
        Some(cap) => Err(Refusal::unsupported(format!("{key} = {cap}"))),
        None => Ok(()),
    });
    let activation = match facts.text("hidden_activation")? {
        Some(other) if other != ARCH.hidden_act => Err(Refusal::unsupported(format!("hidden_activation `{other}`"))),
        _ => Ok(()),
    };
    let both_ways = match facts.flag("use_bidirectional_attention")? {
        Some(true) => Err(Refusal::unsupported("use_bidirectional_attention = true")),
        _ => Ok(()),
    };
    let shared = [refuse::biases(facts), refuse::shares(facts), refuse::no_norms_in_projections(facts)];
    Refusal::all(shared.into_iter().chain(caps).chain([activation, both_ways]))
}

/// The architecture described in the module documentation.
pub static ARCH: Arch = Arch {
    name: "gemma3-embedding",
    title: "gemma3 (BitNet embedding)",
    hugging_face: &["Gemma3TextModel", "Gemma3ForCausalLM"],
    model_types: &["gemma3_text"],
    gguf: &["gemma3"],
    hidden_act: "gelu_pytorch_tanh",
    defaults: Defaults { head_dim: Some(256), rms_eps: 1e-6, rope_theta: 1e6 },
    tensors: |config| decoder::tensors(config, tensors),
    refuse,
    details,
    head: false,
    norms_from_zero: true,
    projection_norms: true,
    interleaved_qk: false,
    quantize_at_load: true,
    add_bos: false,
    template: None,
};
