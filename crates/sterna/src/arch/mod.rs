//! What is known of an architecture before any weight is read: its names, its tensors and what it refuses.
//!
//! ```text
//! model/llama.rs ── pub static ARCH: Arch ──► model::ALL ──► checkpoint: names, shapes, refusals
//!                └─ fn load ────────────────►           └──► model: the network itself
//! ```
//!
//! The types are here, below checkpoints and networks, so that both can use them. The statics are at the end of the
//! networks' files in `model/`.

mod config;
pub mod decoder;
pub mod facts;
mod precision;
pub mod refuse;
mod slot;

pub use config::Config;
pub(crate) use config::MAX_VOCAB;
pub use facts::{Container, Facts, Refusal};
pub use precision::Precision;
pub use slot::{Kind, Slot};

/// An architecture. A new one is a file in `model/` that ends with such a static, and a line in
/// [`model::ALL`](crate::model::ALL).
pub struct Arch {
    /// Short name in lower case, for programs.
    pub name: &'static str,
    /// Name for reports.
    pub title: &'static str,
    /// Names in `architectures` of config.json. Several architectures may share one: then `hidden_act` tells them
    /// apart, and the first one in the table is meant if it is absent.
    pub hugging_face: &'static [&'static str],
    /// Names in `model_type` of config.json, for files without `architectures`.
    pub model_types: &'static [&'static str],
    /// Names in `general.architecture` of GGUF files; the first is written.
    pub gguf: &'static [&'static str],
    /// The activation function, as `hidden_act` of config.json calls it.
    pub hidden_act: &'static str,
    /// Values that config.json may omit.
    pub defaults: Defaults,
    /// All tensors of a configuration, in the order in which the network uses them.
    pub tensors: fn(&Config) -> Vec<Slot>,
    /// Refuses files that ask for a computation the network does not follow.
    pub refuse: fn(&Facts<'_>) -> Result<(), Refusal>,
    /// Whether the network has a head that turns hidden states into logits.
    pub head: bool,
    /// Whether GGUF files keep the query and key rows of a head as (half, 2): neighbours are rotated together.
    pub interleaved_qk: bool,
    /// Whether full-precision weights are rounded to trits when they are loaded, whatever the file says.
    pub quantize_at_load: bool,
    /// Whether texts begin with the BOS token if a GGUF file does not say so.
    pub add_bos: bool,
    /// A chat template of published GGUF files that the model was not trained with.
    pub template: Option<TemplateCorrection>,
}

/// Values that config.json may omit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// Features of a head; `None`: the hidden size divided by the heads.
    pub head_dim: Option<usize>,
    /// Epsilon of the norms.
    pub rms_eps: f64,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
}

/// A chat template that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateCorrection {
    /// A text that only the wrong template contains.
    pub wrong: &'static str,
    /// The template to use instead.
    pub right: &'static str,
}

impl Arch {
    /// The name that GGUF files get.
    pub fn gguf_name(&self) -> &'static str {
        self.gguf.first().copied().unwrap_or(self.name)
    }

    /// The network's tensors.
    pub fn tensors(&self, config: &Config) -> Vec<Slot> {
        (self.tensors)(config)
    }
}

impl Config {
    /// Weights of all ternary layers: multiply-adds of one token, but for attention and the head.
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

/// What Sterna runs, for the remedies of refusals: the names of `known` in files of one kind.
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
    format!("Sterna runs {list} with ternary weights, without biases and with plain rotary embedding")
}
