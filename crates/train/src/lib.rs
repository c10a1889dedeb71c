//! Train ternary language models (BitNet b1.58) on ordinary CPUs.
//!
//! ```text
//! .txt, .jsonl ─► tokenizer (once)
//!          └────► data: documents ─► pieces ─► batches
//! ```
#![forbid(unsafe_code)]

pub mod adapter;
pub mod batch;
pub mod data;
mod error;
pub mod files;
pub mod network;
pub mod optimizer;
pub mod pass;
pub mod precision;
mod random;
pub mod recipe;
pub mod session;
pub mod text;
pub mod tokenizer;
pub mod trainer;
pub mod update;
pub mod validation;
pub mod weights;

pub use batch::Batch;
pub use error::{Error, Result};
