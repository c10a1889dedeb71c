//! Run 1-bit and ternary language models (BitNet b1.58 and relatives) on ordinary CPUs.
//!
//! ```text
//! files ──► checkpoint ──► rows of trits + scales ──► model ──► engine ──► events
//!                    └──► text (tokenizer, template) ──────────────┘
//! ```
//!
//! [`Engine`] loads a model and answers requests; a generation is an iterator of [`Event`]s. Everything below runs with
//! the model that the program `sterna` carries; any `.gguf` file or Hugging Face directory will do.
//!
//! # Load and stream
//!
//! ```
//! use sterna::{Engine, Event, Request};
//!
//! # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");
//! let engine = Engine::builder().threads(1).context(256).open(model)?;
//! let prompt = engine.tokenizer()?.encode_prompt("Once upon a time")?;
//! let mut tokens = 0;
//! for event in engine.generate(Request::new(prompt).max_tokens(8))? {
//!     if let Event::Token { text, .. } = event? {
//!         print!("{text}");
//!         tokens += 1;
//!     }
//! }
//! assert_eq!(tokens, 8);
//! # Ok::<(), sterna::Error>(())
//! ```
//!
//! Dropping a [`Generation`] cancels it. [`Engine::submit`] calls a function with each event instead, for callers that
//! must not block, and [`Runner`] uses no thread of its own.
//!
//! # Chat
//!
//! ```
//! use sterna::{Engine, Event, Message, Request, Sampling};
//!
//! # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/embedded/sterna.gguf");
//! let engine = Engine::builder().threads(1).context(256).open(model)?;
//! let conversation = [Message { role: "user".into(), content: "Who are you?".into() }];
//! let prompt = engine.template()?.encode(engine.tokenizer()?, &conversation)?;
//! let sampling = Sampling::default().temperature(0.7).top_p(0.9).seed(1);
//! let mut answer = String::new();
//! for event in engine.generate(Request::new(prompt).max_tokens(12).sampling(sampling))? {
//!     match event? {
//!         Event::Token { text, .. } => answer += &text,
//!         Event::Finished { text, usage, .. } => {
//!             answer += &text;
//!             assert!(usage.tokens <= 12);
//!         }
//!         _ => {}
//!     }
//! }
//! assert!(!answer.is_empty());
//! # Ok::<(), sterna::Error>(())
//! ```
//!
//! # More
//!
//! | for | see |
//! |---|---|
//! | options, other sources of a model | [`EngineBuilder`] |
//! | logits, perplexity, divergence of two models | [`Engine::logits`], [`Evaluate`] |
//! | multiple choice | [`Engine::loglikelihoods`] |
//! | embeddings, hidden states | [`Engine::embed`], [`Engine::embed_all`], [`Engine::score`] |
//! | converting a model | [`checkpoint::write::write_gguf`] |
//! | training | the crate `sterna-train` |
#![forbid(unsafe_code)]

pub mod arch;
mod byte_letters;
pub mod checkpoint;
pub mod engine;
mod error;
pub mod model;
mod setters;
pub mod text;

pub use checkpoint::{Checkpoint, Config};
pub use engine::{
    Embed, Engine, EngineBuilder, Evaluate, Evaluation, Event, FinishReason, Generation, Pooling, Request, Runner,
    Sampling, Score, Usage, Work,
};
pub use error::{Error, Reason, Result};
pub use sterna_kernels::{Cpu, Rows};
pub use text::{ChatTemplate, Message, Tokenizer};

/// Kernels, for the programs of this workspace: no part of the stable interface.
#[doc(hidden)]
pub use sterna_kernels as kernels;
