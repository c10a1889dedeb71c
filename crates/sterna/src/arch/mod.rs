//! Architectures: names, tensors and refusals, known before any weight is read.
//!
//! ```text
//! model/llama.rs ── pub static ARCH: Arch ──► model::ALL ──► checkpoint: names, shapes, refusals
//!                └─ fn load ────────────────►           └──► model: the network itself
//! ```
//!
//! The types are defined here, below checkpoints and networks, so that both can use them. The statics are at the end of
//! the networks' files in `model/`.

mod config;
pub mod decoder;
pub mod facts;
mod hadamard;
pub mod hybrid;
mod pooling;
mod precision;
pub mod refuse;
pub mod rope_scaling;
mod scalings;
mod slot;
mod windows;

pub use config::Config;
pub(crate) use config::MAX_VOCAB;
pub use facts::{Container, Facts, Refusal};
pub(crate) use hadamard::PREFIX as HADAMARD_PREFIX;
pub use hadamard::{Hadamard, HadamardKeys};
pub use hybrid::Hybrid;
pub use pooling::Pooling;
pub use precision::Precision;
pub use rope_scaling::RopeScaling;
pub use scalings::Scalings;
pub use slot::{Kind, Slot};
pub use windows::Windows;

/// An architecture. A new one is a file in `model/` that ends with a static of this type, and a line in
/// [`model::ALL`](crate::model::ALL).
pub struct Arch {
    /// Short lower-case name, for programs.
    pub name: &'static str,
    /// Name for reports.
    pub title: &'static str,
    /// Names in `architectures` of config.json. Architectures that share a name are told apart by `hidden_act`; if that
    /// is absent, the first one in the table is used.
    pub hugging_face: &'static [&'static str],
    /// Names in `model_type` of config.json, for files without `architectures`.
    pub model_types: &'static [&'static str],
    /// Names in `general.architecture` of GGUF files; the first is used for writing.
    pub gguf: &'static [&'static str],
    /// The activation function, in the spelling of `hidden_act` in config.json.
    pub hidden_act: &'static str,
    /// Values that config.json may omit.
    pub defaults: Defaults,
    /// All tensors of a configuration, in the order in which the network uses them.
    pub tensors: fn(&Config) -> Vec<Slot>,
    /// Refuses files that require a computation the network does not perform.
    pub refuse: fn(&Facts<'_>) -> Result<(), Refusal>,
    /// Reads numbers that only this network's files state, into a configuration with everything else.
    pub details: fn(&Facts<'_>, &mut Config) -> Result<(), Refusal>,
    /// Whether the network has a head, which computes logits from hidden states.
    pub head: bool,
    /// Whether Hugging Face checkpoints store the weights of norms minus 1, those of norms in projections excepted.
    pub norms_from_zero: bool,
    /// Whether every projection begins with an RMS norm of its own. Of architectures that share a name, the file's
    /// tensors tell which one it is.
    pub projection_norms: bool,
    /// Whether GGUF files store the query and key rows of a head as (half, 2), so that neighbours are rotated together.
    pub interleaved_qk: bool,
    /// Whether full-precision weights are rounded to trits at load, whether or not the file requests it.
    pub quantize_at_load: bool,
    /// Whether prompts begin with BOS if a GGUF file does not specify it.
    pub add_bos: bool,
    /// A wrong chat template in published GGUF files, which is replaced.
    pub template: Option<TemplateCorrection>,
}

/// Values that config.json may omit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// Features of a head; `None` for the hidden size divided by the number of heads.
    pub head_dim: Option<usize>,
    /// Epsilon of the norms.
    pub rms_eps: f64,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
}

/// The correction of a wrong chat template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateCorrection {
    /// A text that occurs only in the wrong template.
    pub wrong: &'static str,
    /// The correct template.
    pub right: &'static str,
}

impl Arch {
    /// The name that is written to GGUF files.
    pub fn gguf_name(&self) -> &'static str {
        self.gguf.first().copied().unwrap_or(self.name)
    }

    /// What is added to the values of this tensor in a Hugging Face checkpoint.
    pub(crate) fn offset(&self, slot: &Slot) -> f32 {
        let from_zero = self.norms_from_zero && matches!(slot.kind, Kind::Vector { .. });
        if from_zero && !refuse::is_projection_norm(&slot.name) { 1.0 } else { 0.0 }
    }

    /// The network's tensors.
    pub fn tensors(&self, config: &Config) -> Vec<Slot> {
        (self.tensors)(config)
    }
}

impl Config {
    /// Number of weights of all ternary layers: the multiply-adds of one token without attention and the head.
    pub fn ternary_weights(&self) -> usize {
        let tensors = self.architecture.tensors(self);
        tensors.iter().filter(|slot| matches!(slot.kind, Kind::Ternary { .. })).map(|slot| slot.kind.weights()).sum()
    }
}

impl std::fmt::Debug for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Arch {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Arch {}

/// The same architectures; those whose projections have norms, as those of the file with these `tensors`, come first.
pub(crate) fn by_projection_norms<'a>(
    known: &[&'static Arch],
    mut tensors: impl Iterator<Item = &'a str>,
) -> Vec<&'static Arch> {
    let norms = tensors.any(refuse::is_projection_norm);
    let mut known = known.to_vec();
    known.sort_by_key(|arch| arch.projection_norms != norms);
    known
}

/// The models that Sterna runs, for the remedies of refusals: the names of `known` in files of this kind.
pub(crate) fn what_runs(known: &[&Arch], container: Container) -> String {
    let mut names: Vec<&str> = Vec::new();
    for arch in known {
        match container {
            Container::HuggingFace => names.extend(arch.hugging_face),
            Container::Gguf => names.extend(arch.gguf),
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let list = match &names[..] {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => names.concat(),
    };
    format!("Sterna runs {list} with ternary weights and without biases")
}
