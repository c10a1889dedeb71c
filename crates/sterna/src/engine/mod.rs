//! The generation loop: requests in, events out.

use std::path::{Path, PathBuf};

use sterna_kernels::Rows;

use crate::Result;
use crate::checkpoint::{Checkpoint, Config};
use crate::model::{Model, Precision};
use crate::text::{ChatTemplate, Tokenizer};

/// How to load and run a model.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads; 0: as many as this process may use.
    pub threads: usize,
    /// Positions of the context; `None`: the model's own, as far as memory allows (at most 4096 unless asked).
    pub context: Option<usize>,
    /// Tokens of a prompt that one forward pass takes.
    pub chunk: usize,
    /// How ternary layers see their input; `None`: as the model was trained.
    pub precision: Option<Precision>,
}

/// A loaded model that answers requests. Cheap to share; one thread owns the computation.
pub struct Engine {}

impl Engine {
    /// Opens a `.gguf` file or a Hugging Face directory.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        todo!()
    }
    /// Loads an opened checkpoint (also an embedded or a synthetic one).
    pub fn load(checkpoint: Checkpoint, options: &Options) -> Result<Self> {
        todo!()
    }
    /// The model's dimensions.
    pub fn config(&self) -> &Config {
        todo!()
    }
    /// The network.
    pub fn model(&self) -> &dyn Model {
        todo!()
    }
    /// Positions of the context in use.
    pub fn context(&self) -> usize {
        todo!()
    }
    /// Instruction set in use ("avx512", …).
    pub fn isa(&self) -> &'static str {
        todo!()
    }
    /// Threads in use.
    pub fn threads(&self) -> usize {
        todo!()
    }
    /// Seconds that loading took.
    pub fn load_seconds(&self) -> f64 {
        todo!()
    }
    /// The tokenizer; an error that names the file if the checkpoint has none.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        todo!()
    }
    /// The chat template; an error that says what to do if the checkpoint has none.
    pub fn template(&self) -> Result<&ChatTemplate> {
        todo!()
    }
    /// Starts a generation. Dropping the result cancels it.
    pub fn generate(&self, request: Request) -> Result<Generation> {
        todo!()
    }
    /// Logits after every token: `(token, vocab)`, handed on in chunks of at most `chunk` tokens.
    pub fn logits(&self, tokens: &[u32], chunk: usize, each: &mut dyn FnMut(&Rows) -> Result<()>) -> Result<()> {
        todo!()
    }
}

/// What to generate.
#[derive(Clone, Debug)]
pub struct Request {
    /// Token ids, BOS included if the model wants it.
    pub prompt: Vec<u32>,
    /// Tokens at most; `None`: until the context is full.
    pub max_tokens: Option<usize>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the answer; they are not part of the text.
    pub stop_tokens: Vec<u32>,
    /// Alternatives reported with each token (0: the token's own log-probability only); `None`: none.
    pub logprobs: Option<usize>,
    /// Drop the oldest prompt tokens (BOS kept) instead of refusing a prompt that is too long.
    pub truncate: bool,
}

/// The sampler chain, in this order: penalties, temperature, top-k, typical, top-p, min-p, draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0: greedy.
    pub temperature: f32,
    /// 0: off.
    pub top_k: usize,
    /// 1: off.
    pub top_p: f32,
    /// 0: off.
    pub min_p: f32,
    /// 1: off.
    pub typical_p: f32,
    /// 1: off. Divides positive and multiplies negative logits of tokens seen (prompt included).
    pub repetition_penalty: f32,
    /// 0: off. Subtracted once from tokens generated.
    pub presence_penalty: f32,
    /// 0: off. Subtracted for each time a token was generated.
    pub frequency_penalty: f32,
    /// Seed of the draw; the same seed and request give the same tokens.
    pub seed: u64,
}

/// A token and its log-probability before temperature and filters.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob {
    /// Token id.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// What happens while an answer is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token was drawn. `text` may be empty while a character is incomplete.
    Token {
        /// Token id.
        id: u32,
        /// Text that became final.
        text: String,
        /// The token's log-probability and the best alternatives, if asked for.
        logprobs: Option<(Logprob, Vec<Logprob>)>,
    },
    /// The generation ended; nothing follows.
    Finished {
        /// Why.
        reason: FinishReason,
        /// Text that was held back until now.
        text: String,
        /// What it took.
        usage: Usage,
    },
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop token or a stop string.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
}

impl FinishReason {
    /// "stop" or "length", as OpenAI's API names them.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Counts and times of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt (after truncation).
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub tokens: usize,
    /// Seconds from the request to the first token.
    pub prefill_seconds: f64,
    /// Seconds from the first token to the last.
    pub decode_seconds: f64,
}

impl Usage {
    /// Prompt tokens a second.
    pub fn prefill_tokens_per_s(&self) -> f64 {
        todo!()
    }
    /// Generated tokens a second, the first one not counted; 0 for fewer than two.
    pub fn decode_tokens_per_s(&self) -> f64 {
        todo!()
    }
}

/// A running generation: an iterator of events that ends after [`Event::Finished`]. Dropping it cancels.
pub struct Generation {}

impl Iterator for Generation {
    type Item = Result<Event>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
