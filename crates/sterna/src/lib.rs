//! Run 1-bit and ternary language models (BitNet b1.58 and relatives) on ordinary CPUs.
//!
//! ```text
//! files ──► checkpoint ──► rows of trits + scales ──► model ──► engine ──► events
//!                    └──► text (tokenizer, template) ──────────────┘
//! ```
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod engine;
mod error;
pub mod model;
pub mod text;

pub use error::{Error, Result};
pub use sterna_kernels as kernels;
