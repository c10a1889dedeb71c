//! Speculation by prompt lookup: what followed the last few tokens the last time they stood in this text.
//!
//! ```text
//! text    … the fox ran home . And then the fox ran
//!             └── matched ──┘ └ draft ┘   └ matched ┘
//! ```
//! A draft costs rows in the next forward pass and never changes a token: every row's logits are those of a step of
//! its own, and drawing stops at the first row whose token is not the drafted one. Source of the idea: "Prompt Lookup
//! Decoding" (Saxena 2023), after "Inference with Reference" (Yang et al., arXiv:2304.04487).

use std::collections::HashMap;

/// Tokens that must match for a place to be found.
const KEY: usize = 3;
/// Longest match that is looked for, and most that a run of misses asks for.
const LONGEST: usize = 16;

/// Proposes tokens for one sequence.
#[derive(Default)]
pub(super) struct Lookup {
    /// Runs of `KEY` tokens, and the index of what followed the last time.
    followers: HashMap<[u32; KEY], usize>,
    /// Indices below this one are among the followers.
    indexed: usize,
    /// Misses since a draft was right: each asks for a longer match, so that text without repetition pays little.
    misses: u32,
}

impl Lookup {
    /// At most `most` tokens that may follow `tokens`, which only grow from call to call.
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
        // A text that repeats a short run goes on repeating it: past its end the draft begins again at the follower.
        tokens[follower..].iter().cycle().take(most.min(matched)).copied().collect()
    }

    /// Learns how many tokens of a draft were right.
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
