//! Token counts of an answer, in OpenAI's shape.

use std::ops::AddAssign;

use serde_json::{Value, json};
use sterna::engine::Usage;

/// Tokens of one or more answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Tokens of the prompts, cached ones included.
    pub prompt: usize,
    /// Prompt tokens that came from the prefix cache.
    pub cached: usize,
    /// Generated tokens.
    pub generated: usize,
}

impl TokenCounts {
    /// The counts of one answer. A prompt with several answers counts once: `count_prompt` is set for the first of them.
    pub fn new(usage: &Usage, count_prompt: bool) -> Self {
        let counted = |tokens| if count_prompt { tokens } else { 0 };
        Self { prompt: counted(usage.prompt_tokens), cached: counted(usage.cached_tokens), generated: usage.tokens }
    }

    /// OpenAI's `usage` object.
    pub fn json(self) -> Value {
        let Self { prompt, cached, generated } = self;
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": { "cached_tokens": cached },
        })
    }
}

impl AddAssign for TokenCounts {
    fn add_assign(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.generated += other.generated;
    }
}
