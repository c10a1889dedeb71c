//! Chat templates (Jinja, as Hugging Face renders them).

use crate::Result;
use crate::checkpoint::{Config, TextFiles};

use super::Tokenizer;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// "system", "user" or "assistant".
    pub role: String,
    /// The text.
    pub content: String,
}

/// A model's way of writing a conversation.
pub struct ChatTemplate {}

impl ChatTemplate {
    /// The template of a checkpoint; `None` if it has none.
    pub fn new(text: &TextFiles, config: &Config) -> Result<Option<Self>> {
        todo!()
    }

    /// Renders the conversation, with the opening of the next answer if `add_generation_prompt`.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        todo!()
    }

    /// Renders and encodes; BOS stands exactly once at the start if the model uses one.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>> {
        todo!()
    }
}
