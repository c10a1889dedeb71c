//! A server of models: OpenAI's API, Anthropic's, Ollama's, and a chat page.
//!
//! ```text
//! socket ─► listen (TLS, limits) ─► access (Host, Origin, key) ─► endpoint ─► conversation (prompt, grammar)
//!                                                                                      │ Request
//! client ◄─ JSON, or a stream of events ◄─ dialect ◄─ turn (text, calls) ◄─ engine ◄───┘
//! ```
//! An endpoint is a file in `endpoints` and a line in its `mod.rs`.
#![forbid(unsafe_code)]

mod access;
mod app;
mod base_path;
mod body;
mod catalog;
mod client;
mod conversation;
mod description;
mod embedding;
mod endpoints;
mod error;
mod fields;
mod history;
mod job;
mod keep_alive;
mod listen;
mod mapped;
mod metrics;
mod model;
mod process;
mod prompt;
mod residents;
mod sampling;
mod settings;
mod shape;
mod stream;
mod think;
mod tools;
mod turn;
mod unknown;
mod usage;

use axum::Router;
pub use catalog::Models;
pub use error::Error;
pub use keep_alive::KeepAlive;
pub use listen::Server;
pub use settings::{Settings, Tls};

/// All endpoints, for programs that run a server of their own. The settings about sockets and TLS have no effect here.
///
/// # Errors
/// For settings that [`Settings::check`] refuses, models without a tokenizer, and two models of one name.
pub fn router(models: impl Into<Models>, settings: Settings) -> Result<Router, Error> {
    Ok(endpoints::router(&app::App::new(models.into(), settings)?))
}
