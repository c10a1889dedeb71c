//! The dimensions and options of a model, independent of the file format.

use super::{Arch, Hybrid, Pooling, RopeScaling, Scalings, Windows};

/// The configuration of a causal language model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The network.
    pub architecture: &'static Arch,
    /// Features of a token's hidden state.
    pub hidden: usize,
    /// Features inside the feed-forward block.
    pub intermediate: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Longest context that the model was trained for, in tokens.
    pub context: usize,
    /// Epsilon of every RMS norm.
    pub rms_eps: f32,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// Scaling of the rotary embedding.
    pub rope_scaling: RopeScaling,
    /// How hidden states become an embedding, if the model was trained for embeddings.
    pub pooling: Option<Pooling>,
    /// The layers that attend to a part of the context, if there are any.
    pub windows: Option<Windows>,
    /// Factors between the network's parts, for networks that have them.
    pub scalings: Option<Scalings>,
    /// Whether the head uses the embedding's weights.
    pub tied: bool,
    /// Tokens that end a generation, collected from the configuration, the generation configuration and the tokenizer.
    pub eos: Vec<u32>,
    /// The numbers of a hybrid, whose layers are not all attention.
    pub hybrid: Option<Box<Hybrid>>,
}

/// Largest vocabulary that is accepted, about twice the largest known.
pub(crate) const MAX_VOCAB: usize = 1 << 19;

impl Config {
    /// The sizes, each with its limit.
    fn sizes(&self) -> [(&'static str, usize, usize); 8] {
        [
            ("hidden size", self.hidden, 1 << 17),
            ("feed-forward size", self.intermediate, 1 << 20),
            ("number of layers", self.layers, 1000),
            ("number of heads", self.heads, 4096),
            ("number of key/value heads", self.kv_heads, 4096),
            ("head size", self.head_dim, 256),
            ("vocabulary size", self.vocab, MAX_VOCAB),
            ("context length", self.context, 1 << 26),
        ]
    }

    /// Checks that no size is over its limit. The error gives the first one that is, and the limit.
    pub(crate) fn within_limits(&self) -> Result<(), (String, usize)> {
        match self.sizes().into_iter().find(|(_, value, most)| value > most) {
            Some((what, value, most)) => Err((format!("a {what} of {value}"), most)),
            None => Ok(()),
        }
    }

    /// Features of a head that are rotated, from the first on.
    pub fn rotary_dim(&self) -> usize {
        self.hybrid.as_ref().map_or(self.head_dim, |hybrid| hybrid.rotary)
    }

    /// Layers with attention, whose keys and values are kept.
    pub fn attention_layers(&self) -> usize {
        self.hybrid.as_ref().map_or(self.layers, |hybrid| self.layers.saturating_sub(hybrid.recurrent_layers()))
    }

    /// Checks that the numbers are possible and consistent. The error describes the first one that is not.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some((what, ..)) = self.sizes().into_iter().find(|(_, value, _)| *value == 0) {
            return Err(format!("the {what} is 0"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} heads cannot share {} key/value heads evenly", self.heads, self.kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("the head size {} is odd", self.head_dim));
        }
        if !(self.rms_eps > 0.0 && self.rms_eps < 1.0) {
            return Err(format!("the norms' epsilon is {}, not a number between 0 and 1", self.rms_eps));
        }
        if !(self.rope_theta >= 1.0 && self.rope_theta < 1e15) {
            let theta = self.rope_theta;
            return Err(format!("the base of the rotary embedding is {theta}, not a number from 1 to 1e15"));
        }
        if let Some(problem) = self.windows.and_then(|windows| windows.problem()) {
            return Err(problem);
        }
        if let Some(problem) = self.scalings.and_then(|scalings| scalings.problem()) {
            return Err(problem);
        }
        if let Some(hybrid) = &self.hybrid {
            hybrid.check(self)?;
        }
        if !self.rope_scaling.fits(self.rotary_dim()) {
            let dim = self.rotary_dim();
            return Err(format!("the scaling of the rotary embedding does not fit a head size of {dim}"));
        }
        Ok(())
    }
}
