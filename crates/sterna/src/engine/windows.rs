//! Sliding windows over a text.
//!
//! ```text
//! tokens    0 ............. context
//! window 1  [sssssssssssssssss]            s: scored
//! window 2           [cccccccc|sssssssss]  c: context only
//!                     stride ►|
//! ```

use std::ops::Range;

use super::Engine;
use crate::{Error, Result};

/// Windows of `context` tokens that begin every `stride` tokens. Each later window scores only the tokens that earlier
/// windows have not.
pub(super) struct Windows {
    context: usize,
    stride: usize,
    len: usize,
    /// Where the next window begins; `None` after the last.
    begin: Option<usize>,
    scored: usize,
}

/// A window of a text.
pub(super) struct Window {
    /// Its tokens.
    pub tokens: Range<usize>,
    /// Index in the window of the first token that is scored; at least 1.
    pub first: usize,
}

impl Windows {
    /// The windows of a text of `len` tokens, of which all but the first are scored; without overlap, all but the first of
    /// every window.
    ///
    /// # Errors
    /// [`Error::Option`] if they do not suit the engine's context, [`Error::Request`] if there are fewer than two tokens.
    pub fn new(engine: &Engine, len: usize, context: usize, stride: usize) -> Result<Self> {
        if len < 2 {
            return Err(Error::request("tokens", "a text of fewer than two tokens has nothing to predict"));
        }
        if context < 2 || context > engine.context() {
            let problem = format!("windows of {context} tokens; here they can have 2 to {}", engine.context());
            return Err(Error::option("context", problem));
        }
        if stride == 0 || stride > context {
            let problem = format!("a stride of {stride} tokens; it can be 1 to the window's {context}");
            return Err(Error::option("stride", problem));
        }
        Ok(Self { context, stride, len, begin: Some(0), scored: 1 })
    }
}

impl Iterator for Windows {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        let begin = self.begin?;
        let end = self.len.min(begin + self.context);
        let first = self.scored.max(begin + 1) - begin;
        self.scored = end;
        self.begin = (end < self.len).then_some(begin + self.stride);
        Some(Window { tokens: begin..end, first })
    }
}
