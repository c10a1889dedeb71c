//! Tokenizers from `tokenizer.json` or from the vocabulary of a GGUF file.

use std::path::Path;

use crate::Result;
use crate::checkpoint::{Config, TextFiles};

/// Turns text into token ids and back.
pub struct Tokenizer {}

impl Tokenizer {
    /// Builds the tokenizer of a checkpoint; `path` is for messages. The vocabulary must fit `config.vocab`.
    pub fn new(path: &Path, text: &TextFiles, config: &Config) -> Result<Self> {
        todo!()
    }

    /// Encodes text. With `special`, adds what the model adds to a raw prompt (BOS, exactly once); special tokens
    /// written in the text are recognised either way, as Hugging Face does.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        todo!()
    }

    /// Decodes ids; special tokens are kept or skipped.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        todo!()
    }

    /// The id of a token, if the vocabulary has it.
    pub fn id(&self, token: &str) -> Option<u32> {
        todo!()
    }

    /// The text of a token as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        todo!()
    }

    /// Ids the vocabulary has.
    pub fn vocab_size(&self) -> usize {
        todo!()
    }

    /// The token that begins a text, if the model uses one.
    pub fn bos(&self) -> Option<u32> {
        todo!()
    }

    /// Tokens that end an answer as far as the tokenizer knows: its EOS and `<|eot_id|>`, `<|im_end|>` and the like.
    pub fn stop_tokens(&self) -> Vec<u32> {
        todo!()
    }
}
