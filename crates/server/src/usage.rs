//! What answers took, in OpenAI's words.

use std::ops::AddAssign;

use serde_json::{Value, json};
use sterna::engine::Usage;

/// Tokens of some answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    pub prompt: usize,
    /// Of the prompt, what the cache had.
    pub cached: usize,
    pub answer: usize,
}

impl Took {
    /// Of one answer. The prompt of several answers counts once: with the `first`.
    pub fn new(usage: &Usage, first: bool) -> Self {
        let of_first = |tokens| if first { tokens } else { 0 };
        Self { prompt: of_first(usage.prompt_tokens), cached: of_first(usage.cached_tokens), answer: usage.tokens }
    }

    pub fn json(self) -> Value {
        let Self { prompt, cached, answer } = self;
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "prompt_tokens_details": { "cached_tokens": cached },
        })
    }
}

impl AddAssign for Took {
    fn add_assign(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.answer += other.answer;
    }
}
