//! Text in, token ids out, and back: tokenizer, chat template, streaming.

pub mod stream;
pub mod template;
pub mod tokenizer;

pub use stream::TextStream;
pub use template::{ChatTemplate, Message};
pub use tokenizer::Tokenizer;
