//! Networks: compute hidden states from a batch of tokens. One file per architecture.

mod batch;
mod delta;
mod ffn;
mod gated_attention;
mod hadamard;
mod head;
pub mod kv;
mod layers;
mod open;
mod packed_head;
mod recurrent;
pub mod rotation;
mod stack;
mod state;
mod update;
mod weight;

use std::sync::Arc;

use sterna_kernels::{Cpu, Rows};

use crate::arch::Arch;
pub use crate::arch::Precision;
use crate::checkpoint::{Checkpoint, Config};
use crate::{Error, Result};
pub use batch::{Batch, Restore, Run};
pub use bitnet::ARCH as BITNET;
pub use gemma3::ARCH as GEMMA3;
pub use head::{Candidates, Head, HeadMode, LogitQuery, Need, SIGMAS};
pub use hunyuan::ARCH as HUNYUAN;
pub use kv::{KvCache, KvType, Mask};
use layers::Loader;
pub use llama::ARCH as LLAMA;
pub use minicpm::ARCH as MINICPM;
pub use onebitllm::ARCH as ONEBITLLM;
pub use qwen3::ARCH as QWEN3;
pub use qwen3_embedding::ARCH as QWEN3_EMBEDDING;
pub use qwen35::ARCH as QWEN35;
pub use recurrent::Recurrent;
pub use state::State;

/// Declares the files of the networks, and lists them. Each file has a function `load`, and ends with `ARCH`.
macro_rules! networks {
    ($($file:ident,)+) => {
        $(mod $file;)+

        /// All networks that Sterna can run. A new one is a file and a line of `networks!`.
        pub static ALL: &[Entry] = &[$(Entry { arch: &$file::ARCH, load: $file::load }),+];
    };
}

networks! {
    bitnet,
    onebitllm,
    llama,
    qwen3,
    qwen3_embedding,
    gemma3,
    minicpm,
    hunyuan,
    qwen35,
}

/// A network that Sterna can run.
pub struct Entry {
    /// Its architecture: names, tensors and refusals.
    pub arch: &'static Arch,
    load: fn(&Loader<'_>) -> Result<Box<dyn Network>>,
}

/// A network with its weights.
pub trait Network: Send + Sync {
    /// Dimensions and options.
    fn config(&self) -> &Config;

    /// An empty state for this network's sequences; `kind` is the number type of keys and values.
    fn state(&self, kind: KvType) -> State {
        State::paged(KvCache::new(kv::uniform(self.config(), kind)))
    }

    /// Computes the tokens of `batch` and updates `state`. Returns the final hidden states of the rows `batch.outputs`,
    /// normed: `(output, hidden)`. Every row is independent of the rest of the batch.
    fn forward(&self, cpu: &Cpu, batch: &Batch, state: &mut State) -> Rows;

    /// The head, which computes logits from hidden states; `None` for a network that only embeds.
    fn head(&self) -> Option<&Head>;

    /// The positions that attention of layer `layer` attends to.
    fn mask(&self, _layer: usize) -> Mask {
        Mask::Causal
    }

    /// The weights read for one decoded token.
    fn weights(&self) -> Weights;

    /// The share of each feed-forward block that tokens needed so far; empty if all weights are always read.
    fn density(&self) -> Vec<Density> {
        Vec::new()
    }
}

impl dyn Network {
    /// Whether a layer attends to later positions of the text. Then a text must be computed in one batch, and prefixes
    /// cannot be shared.
    pub fn bidirectional(&self) -> bool {
        (0..self.config().layers).any(|layer| self.mask(layer) == Mask::Full)
    }
}

/// A shared network: several engines can use one set of weights.
impl<N: Network + ?Sized> Network for Arc<N> {
    fn config(&self) -> &Config {
        (**self).config()
    }

    fn state(&self, kind: KvType) -> State {
        (**self).state(kind)
    }

    fn forward(&self, cpu: &Cpu, batch: &Batch, state: &mut State) -> Rows {
        (**self).forward(cpu, batch, state)
    }

    fn head(&self) -> Option<&Head> {
        (**self).head()
    }

    fn mask(&self, layer: usize) -> Mask {
        (**self).mask(layer)
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
    /// Packed ternary matrices in memory, including an adapter.
    pub body_bytes: usize,
    /// The bytes of the head that are read per token in its mode.
    pub head_bytes: usize,
}

/// The share of a feed-forward block that remains after skipping zeros, on average over the tokens so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Density {
    /// Number of tokens counted.
    pub tokens: u64,
    /// Share of the gate's outputs that are positive: rows of `up_proj` that are needed.
    pub gates: f64,
    /// Share of `down_proj`'s int8 inputs that are not zero: columns that are needed.
    pub codes: f64,
    /// Bytes of both matrices that were skipped per token.
    pub skipped_bytes: f64,
}

/// Whether feed-forward blocks skip weights that are multiplied by zero. The results are the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FfnMode {
    /// All weights are read.
    Dense,
    /// Weights multiplied by zero are skipped; an error for models without zeros.
    Sparse,
    /// Sparse where the gate is ReLU² and activations are int8, otherwise dense.
    #[default]
    Auto,
}

/// Options of a network, fixed when it is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// The number type of the ternary layers' input; `None` uses the type that the checkpoint was trained with
    /// ([`Checkpoint::precision`]).
    pub precision: Option<Precision>,
    /// How logits are computed.
    pub head: HeadMode,
    /// Whether feed-forward blocks skip weights that are multiplied by zero.
    pub ffn: FfnMode,
}

/// Changes the gate of one token in one layer, before its activation: `(intermediate)`.
#[doc(hidden)]
pub type GateHook = Arc<dyn Fn(&mut [f32]) + Send + Sync>;

/// The architectures in [`ALL`].
pub fn known() -> Vec<&'static Arch> {
    ALL.iter().map(|entry| entry.arch).collect()
}

/// The architecture in [`ALL`] with this name in GGUF files.
pub fn by_gguf_name(name: &str) -> Option<&'static Arch> {
    known().into_iter().find(|arch| arch.gguf.contains(&name))
}

/// Builds the network of a checkpoint: reads, checks and packs every tensor.
///
/// # Errors
/// Those of the file, and [`Error::Option`] if the settings do not suit the network.
pub fn load(checkpoint: &Checkpoint, cpu: &Cpu, settings: Settings) -> Result<Box<dyn Network>> {
    load_with_hook(checkpoint, cpu, settings, None)
}

/// [`load`] with a hook for measurements, which networks of BitNet's kind call: no part of the stable interface.
///
/// # Errors
/// Those of [`load`].
#[doc(hidden)]
pub fn load_with_hook(
    checkpoint: &Checkpoint,
    cpu: &Cpu,
    settings: Settings,
    gate_hook: Option<GateHook>,
) -> Result<Box<dyn Network>> {
    let arch = checkpoint.config.architecture;
    let trained = checkpoint.precision(cpu.pool())?;
    let precision = settings.precision.unwrap_or(trained);
    let grouped = trained == Precision::Int14 || precision == Precision::Int14;
    let loader = Loader { checkpoint, cpu, settings, precision, grouped, gate_hook };
    ffn::check(&loader)?;
    match ALL.iter().find(|entry| entry.arch == arch) {
        Some(entry) => (entry.load)(&loader),
        None => Err(Error::option("architecture", format!("Sterna has no network `{}`", arch.name))),
    }
}
