//! Training data: from files to documents, to pieces that fit the context, to batches.
//!
//! ```text
//! file ─► source: parts of documents ─► pack: tokens, and which are learned ─► Dataset: pieces
//!                                                                                 │
//!                      Sampler: sources by weight, shuffled every epoch ◄─────────┘ ─► batches in order (validation)
//! ```

mod dataset;
mod pack;
mod sampler;
mod source;

pub use dataset::{Dataset, Progress};
pub use pack::Packer;
pub use sampler::{Cursor, Sampler, Weighted};
pub use source::sample;
