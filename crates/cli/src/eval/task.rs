//! A text that is scored in windows.

use indicatif::ProgressBar;
use sterna::engine::Engine;

use crate::output;

/// A text in windows, for one model or two.
pub struct Task {
    pub engine: Engine,
    pub tokens: Vec<u32>,
    /// Whether the tokens begin with BOS.
    pub bos: bool,
    pub stride: usize,
}

impl Task {
    /// The tokens, the context and the stride, as a line of text.
    pub fn described(&self, scored: usize) -> String {
        let bos = if self.bos { "at the start of the text" } else { "not used" };
        format!("{scored} tokens scored, context {}, stride {}, BOS {bos}\n", self.engine.context(), self.stride)
    }

    /// A bar over the tokens that are scored.
    pub fn bar(&self) -> ProgressBar {
        output::bar("scoring", self.tokens.len().saturating_sub(1) as u64)
    }
}
