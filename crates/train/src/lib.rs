//! Train ternary language models (BitNet b1.58) on ordinary CPUs.
//!
//! ```text
//! .txt, .jsonl ─► tokenizer (once)
//!          └────► data: documents ─► pieces ─► batches
//! ```
//!
//! [`Session`](session::Session) is a run in a directory, as `sterna train` has it:
//!
//! ```
//! use sterna_train::recipe::{Recipe, Shape};
//! use sterna_train::session::Session;
//!
//! # let folder = tempfile::tempdir()?;
//! # let (text, out) = (folder.path().join("text.txt"), folder.path().join("run"));
//! # std::fs::write(&text, "One day a bird flew to the sea. It sat on a stone and slept.\n".repeat(20))?;
//! let shape =
//!     Shape { vocab: 300, hidden: 32, intermediate: 64, layers: 1, heads: 2, kv_heads: 1, context: 32, rope_theta: 1e4 };
//! let recipe = Recipe { steps: 2, batch: 64, ..Recipe::new(shape, vec![(text, 1.0)]) };
//! let mut session = Session::open(recipe, &out, 1, &mut |_| {})?;
//! session.run(&|| false, &mut |_| {})?;
//! assert_eq!(session.trainer().step_number(), 2);
//! let engine = sterna::Engine::builder().threads(1).open(out.join("model"))?;
//! assert_eq!(engine.config().vocab, 300);
//! # Ok::<(), Box<dyn std::error::Error>>(())
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
