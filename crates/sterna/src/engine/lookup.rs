//! Speculation by prompt lookup: drafts the tokens that followed the last few tokens at their previous occurrence in
//! the text.
//!
//! ```text
//! text    … the fox ran home . And then the fox ran
//!             └── matched ──┘ └ draft ┘   └ matched ┘
//! ```
//! A draft adds rows to the next forward pass and never changes a token. The logits of each row are those of a step of
//! its own, and drawing stops at the first token that differs from the draft. Source of the idea: "Prompt Lookup
//! Decoding" (Saxena 2023), after "Inference with Reference" (Yang et al., arXiv:2304.04487).

use std::collections::HashMap;

/// Number of tokens that must match.
const KEY: usize = 3;
/// Longest match that is searched for, and the upper limit of the length required after misses.
const LONGEST: usize = 16;

/// Proposes draft tokens for one sequence.
#[derive(Default)]
pub(super) struct Lookup {
    /// Maps `KEY` consecutive tokens to the index of the token after their last occurrence.
    followers: HashMap<[u32; KEY], usize>,
    /// Tokens before this index are in `followers`.
    indexed: usize,
    /// Misses since a draft was right. Each miss requires a longer match, so that text without repetition costs little.
    misses: u32,
}

impl Lookup {
    /// Returns at most `most` tokens that may follow `tokens`. Between calls `tokens` only grow.
    pub fn propose(&mut self, tokens: &[u32], most: usize) -> Vec<u32> {
        let len = tokens.len();
        for follower in self.indexed.max(KEY)..len {
            if let Some(key) = key(&tokens[..follower]) {
                self.followers.insert(key, follower);
            }
        }
        self.indexed = len;
        let Some(&follower) = key(tokens).and_then(|key| self.followers.get(&key)) else { return Vec::new() };
        let ends = tokens[..follower].iter().rev().zip(tokens.iter().rev());
        let matched = ends.take(LONGEST).take_while(|(earlier, last)| earlier == last).count();
        if matched < (KEY << self.misses.min(8)).min(LONGEST) {
            return Vec::new();
        }
        // A text that repeats a short run tends to continue: past the end of the text the draft starts over at the
        // follower.
        tokens[follower..].iter().cycle().take(most.min(matched)).copied().collect()
    }

    /// Records how many tokens of a draft were right.
    pub fn learn(&mut self, right: usize) {
        self.misses = if right > 0 { 0 } else { self.misses + 1 };
    }
}

/// The last `KEY` tokens.
fn key(tokens: &[u32]) -> Option<[u32; KEY]> {
    tokens.last_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_last_is_proposed() {
        let mut lookup = Lookup::default();
        let text = [1, 2, 3, 4, 5, 9, 2, 3, 4, 6, 7, 2, 3, 4];
        assert_eq!(lookup.propose(&text, 8), [6, 7, 2], "as many as matched");
        assert_eq!(lookup.propose(&text, 1), [6]);
        assert_eq!(lookup.propose(&[1, 2, 3, 4, 5, 9, 2, 3, 4, 6, 7, 2, 3, 4, 6], 8), [7, 2, 3, 4]);
    }

    #[test]
    fn a_repeated_run_goes_on() {
        let text: Vec<u32> = [7, 8].repeat(12);
        assert_eq!(Lookup::default().propose(&text, 6), [7, 8, 7, 8, 7, 8]);
    }

    #[test]
    fn new_and_short_texts_have_no_draft() {
        for len in 0..40 {
            assert!(Lookup::default().propose(&(0..len).collect::<Vec<_>>(), 8).is_empty());
        }
        assert!(Lookup::default().propose(&[5, 5], 8).is_empty());
    }

    #[test]
    fn misses_ask_for_longer_matches() {
        let mut lookup = Lookup::default();
        let text = [1, 2, 3, 4, 1, 2, 3];
        assert!(!lookup.propose(&text, 8).is_empty());
        lookup.learn(0);
        assert!(lookup.propose(&text, 8).is_empty());
        lookup.learn(2);
        assert!(!lookup.propose(&text, 8).is_empty());
        (0..100).for_each(|_| lookup.learn(0));
        let long: Vec<u32> = [9, 8, 7].repeat(20);
        assert!(!lookup.propose(&long, 8).is_empty(), "a match of {LONGEST} always counts");
    }
}
