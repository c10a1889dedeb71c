//! Networks: a batch of tokens in, what the head reads out. One file an architecture.

mod ffn;
mod head;
pub mod kv;
mod layers;
mod open;
mod pages;
pub mod rotation;
mod stack;
mod update;

use std::sync::Arc;

use sterna_kernels::{Cpu, Rows};

use crate::arch::Arch;
use crate::checkpoint::{Checkpoint, Config};
use crate::{Error, Result};
pub use bitnet::ARCH as BITNET;
pub use head::{Candidates, Head, HeadMode, Need, SIGMAS, Wanted};
pub use kv::{KvCache, KvType, SequenceId};
use layers::Loader;
pub use llama::ARCH as LLAMA;
pub use onebitllm::ARCH as ONEBITLLM;
pub use qwen3::ARCH as QWEN3;

/// Declares the files of the networks, and lists them. Each file has a function `load`, and ends with `ARCH`.
macro_rules! networks {
    ($($file:ident,)+) => {
        $(mod $file;)+

        /// Every network that Sterna runs. A new one is a file and a line of `networks!`.
        pub static ALL: &[Entry] = &[$(Entry { arch: &$file::ARCH, load: $file::load }),+];
    };
}

networks! {
    bitnet,
    onebitllm,
    llama,
    qwen3,
}

/// A network that Sterna runs.
pub struct Entry {
    /// What is known of its files.
    pub arch: &'static Arch,
    load: fn(&Loader<'_>) -> Result<Box<dyn Model>>,
}

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

/// The architectures of [`ALL`].
pub fn known() -> Vec<&'static Arch> {
    ALL.iter().map(|entry| entry.arch).collect()
}

/// The architecture that GGUF files call `name`, if it is one of [`ALL`].
pub fn by_gguf_name(name: &str) -> Option<&'static Arch> {
    known().into_iter().find(|arch| arch.gguf.contains(&name))
}

/// Builds the network of a checkpoint: reads, checks and packs every tensor.
pub fn load(checkpoint: &Checkpoint, cpu: &Cpu, settings: Settings) -> Result<Box<dyn Model>> {
    let arch = checkpoint.config.architecture;
    ffn::check(&checkpoint.config, settings)?;
    match ALL.iter().find(|entry| entry.arch == arch) {
        Some(entry) => (entry.load)(&Loader { checkpoint, cpu, settings }),
        None => Err(Error::option("architecture", format!("`{}` is not a network that Sterna loads", arch.name))),
    }
}
