//! Streaming: token ids in, whole UTF-8 pieces out, stop strings never shown.

use super::Tokenizer;

/// Decodes a generation token by token.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
}

/// What a token added to the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text that is final; empty while a character or a possible stop string is incomplete.
    Text(String),
    /// A stop string was completed: the last text before it; nothing more must be pushed.
    Stop(String),
}

impl<'a> TextStream<'a> {
    /// A stream after `prompt` (for spacing only; it is not repeated), ending at any of `stop`.
    pub fn new(tokenizer: &'a Tokenizer, prompt: &[u32], stop: &[String]) -> Self {
        todo!()
    }

    /// Adds a token.
    pub fn push(&mut self, id: u32) -> Piece {
        todo!()
    }

    /// What was held back, when the generation ends.
    pub fn finish(self) -> String {
        todo!()
    }
}
