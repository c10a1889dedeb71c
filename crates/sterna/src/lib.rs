//! Run 1-bit and ternary language models (BitNet b1.58 and relatives) on ordinary CPUs.
//!
//! ```text
//! files ──► checkpoint ──► rows of trits + scales ──► model ──► engine ──► events
//!                    └──► text (tokenizer, template) ──────────────┘
//! ```
//!
//! [`engine::Engine`] loads a model and answers requests; a generation is an iterator of events.
//!
//! ```no_run
//! use sterna::engine::{Engine, Event, Options, Request};
//!
//! let engine = Engine::open("model.gguf", &Options::default())?;
//! let prompt = engine.tokenizer()?.encode("Once upon a time", true)?;
//! for event in engine.generate(Request { max_tokens: Some(100), ..Request::new(prompt) })? {
//!     if let Event::Token { text, .. } = event? {
//!         print!("{text}");
//!     }
//! }
//! # Ok::<(), sterna::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod arch;
mod byte_letters;
pub mod checkpoint;
pub mod engine;
mod error;
pub mod model;
pub mod text;

pub use error::{Error, Result};
pub use sterna_kernels as kernels;
