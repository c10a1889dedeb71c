//! A server of one model: OpenAI's API, Ollama's, and a chat page.
//!
//! ```text
//! socket ─► listen (TLS, limits) ─► access (Host, Origin, key) ─► endpoints ─► prompt, sampling, grammar
//!                                                                                       │ Request
//! client ◄─ JSON, or events while they come ◄─ endpoints ◄─ Answer ◄── engine thread ◄──┘
//! ```
//! An endpoint is a file in `endpoints` and a line in its `mod.rs`.
#![forbid(unsafe_code)]

mod access;
mod answer;
mod app;
mod body;
mod endpoints;
mod error;
mod listen;
mod metrics;
mod prompt;
mod sampling;
mod settings;
mod stream;
mod tools;
mod turn;
mod usage;

use axum::Router;
use sterna::engine::Engine;

pub use error::Error;
pub use listen::Server;
pub use settings::{Settings, Tls};

/// All endpoints, for programs that have a server of their own. Of the settings, those about sockets are theirs to keep.
///
/// # Errors
/// For settings that cannot be served, and models without a tokenizer.
pub fn router(engine: Engine, settings: Settings) -> Result<Router, Error> {
    Ok(endpoints::router(&app::App::new(engine, settings)?))
}
