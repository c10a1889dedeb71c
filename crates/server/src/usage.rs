//! Token counts of an answer, in OpenAI's shape.

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
    /// Adds an answer. A prompt with several answers counts once: `count_prompt` is set for the first of them.
    pub fn add(&mut self, usage: &Usage, count_prompt: bool) {
        self.generated += usage.tokens;
        if count_prompt {
            self.prompt += usage.prompt_tokens;
            self.cached += usage.cached_tokens;
        }
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
