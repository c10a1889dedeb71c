//! Networks: a batch of tokens in, what the head reads out. One file an architecture.

mod bitnet;
mod ffn;
mod head;
pub mod kv;
mod layers;
mod llama;
mod onebitllm;
mod pages;
mod qwen3;
pub mod rotation;
mod update;

use std::sync::Arc;

use sterna_kernels::{Cpu, Rows};

use crate::Result;
use crate::checkpoint::{Architecture, Checkpoint, Config};
pub use head::{Candidates, Head, HeadMode, Need, SIGMAS, Wanted};
pub use kv::{KvCache, KvType, SequenceId};

/// A network with its weights.
pub trait Model: Send + Sync {
    /// Dimensions and choices.
    fn config(&self) -> &Config;

    /// Runs the tokens of `batch`, stores their keys and values in `kv`, and returns the final hidden states of the
    /// rows `batch.outputs`, normed: `(output, hidden)`. Every row is the same whatever else is in the batch.
    fn forward(&self, cpu: &Cpu, batch: &Batch, kv: &mut KvCache) -> Rows;

    /// Turns hidden states into logits.
    fn head(&self) -> &Head;

    /// What one decoded token reads of the weights.
    fn weights(&self) -> Weights;

    /// How much of each feed-forward block the tokens so far needed; empty if everything is always read.
    fn density(&self) -> Vec<Density> {
        Vec::new()
    }
}

/// A network can be shared: several engines, one set of weights.
impl<M: Model + ?Sized> Model for Arc<M> {
    fn config(&self) -> &Config {
        (**self).config()
    }

    fn forward(&self, cpu: &Cpu, batch: &Batch, kv: &mut KvCache) -> Rows {
        (**self).forward(cpu, batch, kv)
    }

    fn head(&self) -> &Head {
        (**self).head()
    }

    fn weights(&self) -> Weights {
        (**self).weights()
    }

    fn density(&self) -> Vec<Density> {
        (**self).density()
    }
}

/// Bytes of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Packed ternary matrices, as they lie in memory, and an adapter's.
    pub body_bytes: usize,
    /// The head: what a token reads of it in its mode.
    pub head_bytes: usize,
}

/// What zeros leave to read of one feed-forward block, on average over the tokens so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Density {
    /// Tokens counted.
    pub tokens: u64,
    /// Share of the gate's outputs that are positive: rows of `up_proj` needed.
    pub gates: f64,
    /// Share of `down_proj`'s int8 inputs that are not zero: its columns needed.
    pub codes: f64,
    /// Bytes of both that a token did not need.
    pub skipped_bytes: f64,
}

/// Whether feed-forward blocks skip what is zero. The results are the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FfnMode {
    /// Everything is read.
    Dense,
    /// What meets a zero is not read; an error for models without zeros.
    Sparse,
    /// Sparse where the gate is ReLU² and activations are int8, otherwise dense.
    #[default]
    Auto,
}

/// How ternary layers see their input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// int8 with one scale a token: as BitNet models are trained.
    #[default]
    Int8,
    /// `f32`: weight-only models.
    Float32,
}

/// Rows of one forward pass: prompt chunks and decode rows of any sequences, mixed ("ragged").
///
/// Rows of one sequence come in the order of their positions, and a position's predecessors are in the cache or
/// earlier in the batch.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Token ids, each below the vocabulary's size.
    pub tokens: Vec<u32>,
    /// Position of each token in its sequence.
    pub positions: Vec<usize>,
    /// Sequence of each token.
    pub sequences: Vec<SequenceId>,
    /// Rows whose logits are wanted.
    pub outputs: Vec<usize>,
}

impl Batch {
    /// Appends tokens of one sequence from `position` on.
    pub fn push(&mut self, sequence: SequenceId, position: usize, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(position..position + tokens.len());
        self.sequences.extend(tokens.iter().map(|_| sequence));
    }

    /// Asks for the logits of the row appended last.
    pub fn want_last(&mut self) {
        self.outputs.push(self.tokens.len() - 1);
    }
}

/// How a network computes; settled when it is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// How ternary layers see their input.
    pub precision: Precision,
    /// How logits are computed.
    pub head: HeadMode,
    /// Whether feed-forward blocks skip what is zero.
    pub ffn: FfnMode,
    /// For measurements: this share of every gate is made zero, the rest positive.
    pub gate_zeros: Option<f32>,
}

/// Builds the network of a checkpoint: reads, checks and packs every tensor.
pub fn load(checkpoint: &Checkpoint, cpu: &Cpu, settings: Settings) -> Result<Box<dyn Model>> {
    ffn::check(&checkpoint.config, settings)?;
    let loader = layers::Loader { checkpoint, cpu, settings };
    match checkpoint.config.architecture {
        Architecture::Bitnet => bitnet::load(&loader),
        Architecture::OneBitLlm => onebitllm::load(&loader),
        Architecture::Llama => llama::load(&loader),
        Architecture::Qwen3 => qwen3::load(&loader),
    }
}
