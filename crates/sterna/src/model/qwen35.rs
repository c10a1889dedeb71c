//! Qwen3.5 with ternary linears (`Qwen3_5ForCausalLM`): gated DeltaNet in most layers, gated attention in every fourth.
//!
//! Source: `modeling_qwen3_5.py` of transformers. Of models that also see images, the language model alone.

use sterna_kernels::{Cpu, Rows};

use super::delta::Delta;
use super::gated_attention::GatedAttention;
use super::hadamard::Hadamard;
use super::layers::{Frame, Linears, Loader, Norm};
use super::{Batch, Head, KvCache, KvType, Network, Recurrent, State, Weights, kv};
use crate::arch::{Arch, Config, Defaults, Hybrid, decoder, hybrid, refuse};
use crate::{Error, Result};

struct Qwen35 {
    frame: Frame,
    /// The rotation of the embedding's rows.
    rotated: Option<Hadamard>,
    layers: Vec<Layer>,
}

struct Layer {
    norm: Norm,
    mixer: Mixer,
    ffn_norm: Norm,
    gate_up: Linears<2>,
    down: Linears<1>,
}

enum Mixer {
    Attention(GatedAttention),
    Delta(Delta),
}

pub(super) fn load(loader: &Loader<'_>) -> Result<Box<dyn Network>> {
    let config = &loader.checkpoint.config;
    let Some(hybrid) = config.hybrid.as_deref() else {
        return Err(Error::option("architecture", "the checkpoint does not describe a hybrid"));
    };
    let (mut layers, mut numbers) = (Vec::with_capacity(config.layers), [0, 0]);
    for (number, &attention) in hybrid.attention.iter().enumerate() {
        let count = &mut numbers[usize::from(attention)];
        layers.push(Layer::load(loader, decoder::Layer { config, number }, (hybrid, attention, *count))?);
        *count += 1;
    }
    let rotated = hybrid.hadamard.as_ref().filter(|hadamard| hadamard.embedding);
    let rotated = rotated.map(|hadamard| Hadamard::new(hadamard, config.hidden));
    Ok(Box::new(Qwen35 { frame: loader.frame()?, rotated, layers }))
}

impl Layer {
    /// `count` are the layers of the same kind before this one.
    fn load(
        loader: &Loader<'_>,
        slots: decoder::Layer<'_>,
        (hybrid, attention, count): (&Hybrid, bool, usize),
    ) -> Result<Self> {
        Ok(Self {
            norm: loader.norm(slots.attention_norm())?,
            mixer: match attention {
                true => Mixer::Attention(GatedAttention::load(loader, &slots, count)?),
                false => Mixer::Delta(Delta::load(loader, slots, hybrid, count)?),
            },
            ffn_norm: loader.norm(slots.mixer_norm())?,
            gate_up: loader.linears([slots.gate(), slots.up()])?,
            down: loader.linears([slots.down()])?,
        })
    }

    fn bytes(&self) -> usize {
        let mixer = match &self.mixer {
            Mixer::Attention(attention) => attention.bytes(),
            Mixer::Delta(delta) => delta.bytes(),
        };
        mixer + self.gate_up.bytes() + self.down.bytes()
    }
}

impl Network for Qwen35 {
    fn forward(&self, cpu: &Cpu, batch: &Batch, state: &mut State) -> Rows {
        let mut h = self.frame.embedding.lookup(cpu, &batch.tokens);
        if let Some(rotated) = &self.rotated {
            rotated.inverse(cpu, &mut h);
        }
        let rotation = self.frame.rope.at(&batch.positions);
        for layer in &self.layers {
            let x = layer.norm.forward(cpu, &h);
            let y = match &layer.mixer {
                Mixer::Attention(attention) => attention.forward(cpu, batch, &rotation, &mut state.kv, &x),
                Mixer::Delta(delta) => delta.forward(cpu, batch, &mut state.recurrent, &x),
            };
            cpu.add(&mut h, &y);
            let x = layer.ffn_norm.forward(cpu, &h);
            let [mut gate, up] = layer.gate_up.forward(cpu, &x);
            cpu.silu_mul(&mut gate, &up);
            let [f] = layer.down.forward(cpu, &gate);
            cpu.add(&mut h, &f);
        }
        self.frame.outputs(cpu, batch, &h)
    }

    fn state(&self, kind: KvType) -> State {
        let config = self.config();
        let sizes = config.hybrid.as_deref().map(|hybrid| vec![hybrid.delta.state(); hybrid.recurrent_layers()]);
        let recurrent = Recurrent::new(&sizes.unwrap_or_default());
        State { kv: KvCache::new(kv::uniform(config, kind)), recurrent }
    }

    fn config(&self) -> &Config {
        &self.frame.config
    }

    fn head(&self) -> Option<&Head> {
        self.frame.head.as_ref()
    }

    fn weights(&self) -> Weights {
        self.frame.weights(self.layers.iter().map(Layer::bytes).sum())
    }
}

/// The architecture described in the module documentation.
pub static ARCH: Arch = Arch {
    name: "qwen35",
    title: "qwen3.5",
    hugging_face: &["Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"],
    model_types: &["qwen3_5_text", "qwen3_5", "prism_hadamard_qwen35"],
    gguf: &["qwen35"],
    hidden_act: "silu",
    defaults: Defaults { head_dim: Some(256), rms_eps: 1e-6, rope_theta: 1e7 },
    tensors: |config| decoder::tensors(config, hybrid::layer),
    refuse: refuse::hybrid,
    details: |facts, config| {
        config.hybrid = Some(Box::new(Hybrid::read(facts, config)?));
        Ok(())
    },
    head: true,
    projection_norms: false,
    norms_from_zero: false,
    interleaved_qk: false,
    quantize_at_load: false,
    add_bos: false,
    template: None,
};
