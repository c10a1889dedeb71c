//! Train ternary language models (BitNet b1.58) on ordinary CPUs.
//!
//! ```text
//! .txt, .jsonl ─► tokenizer (once)
//!          └────► data: documents ─► pieces ─► batches
//! ```
#![forbid(unsafe_code)]

pub mod batch;
pub mod data;
mod error;
mod random;
pub mod tokenizer;

pub use batch::Batch;
pub use error::{Error, Result};
