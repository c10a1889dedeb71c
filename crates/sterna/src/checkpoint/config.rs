//! A model's dimensions and choices, the same for every format.

/// Architectures Sterna runs; each is a file in [`crate::model`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// BitNet b1.58 2B4T: sub-norms, ReLU².
    Bitnet,
    /// 1bitLLM's BitNet b1.58: sub-norms, SiLU.
    OneBitLlm,
    /// Llama with ternary linears: HF1BitLLM, Falcon3-1.58bit, Falcon-E.
    Llama,
    /// Qwen3 with ternary linears: norms on query and key heads.
    Qwen3,
}

/// The configuration of a causal language model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which graph.
    pub architecture: Architecture,
    /// Features of a token.
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
    /// Longest context the model was made for.
    pub context: usize,
    /// Epsilon of every RMS norm.
    pub rms_eps: f32,
    /// Base of the rotary embedding.
    pub rope_theta: f64,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// What ends a generation: config, generation config and tokenizer united.
    pub eos: Vec<u32>,
}
