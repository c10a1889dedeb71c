//! Converts text to token ids and back: tokenizer, chat template, streaming.
//!
//! ```text
//! tokenizer.json ─► huggingface ──────┐
//!                                     ├─► Parts ─► Tokenizer ─► ids ─► TextStream ─► pieces of text
//! GGUF vocabulary ─► gguf_vocabulary ─┘                ▲
//! messages ─► special ─► ChatTemplate ─► text ─────────┘
//! tokenizer.json ─► to_gguf ─► GGUF vocabulary ─► to_huggingface ─► tokenizer.json
//! ```

pub mod calendar;
mod gguf_vocabulary;
mod huggingface;
mod parts;
mod pre_tokens;
mod special;
mod stop;
pub mod stream;
pub mod template;
mod to_gguf;
mod to_huggingface;
mod to_json;
mod token_bytes;
pub mod tokenizer;

pub use stream::TextStream;
pub use template::{ChatTemplate, Message};
pub use to_gguf::to_gguf;
pub use to_huggingface::to_huggingface;
pub use tokenizer::Tokenizer;
