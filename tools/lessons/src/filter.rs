//! Keeps questions of the exam out of the lessons.

use std::collections::HashSet;

use crate::score::{pairs, questions};
use crate::words::{four_grams, words};

/// Phrases of the exam that lessons must not contain.
#[derive(Debug)]
pub struct Filter {
    runs: HashSet<Vec<String>>,
    short: HashSet<Vec<String>>,
    nouns: HashSet<[String; 2]>,
}

impl Default for Filter {
    fn default() -> Self {
        let asked: Vec<_> = questions().iter().map(|question| words(&question.ask)).collect();
        let nouns = questions().into_iter().filter_map(|question| question.nouns);
        Self {
            runs: asked.iter().flat_map(|ask| four_grams(ask)).map(<[_]>::to_vec).collect(),
            short: asked.iter().filter(|ask| ask.len() < 4).cloned().collect(),
            nouns: nouns
                .chain(pairs().into_iter().map(|pair| pair.nouns))
                .flat_map(|[a, b]| [[a.clone(), b.clone()], [b, a]])
                .collect(),
        }
    }
}

impl Filter {
    /// Whether a message shares no run of four words with a question of the exam, and is not itself one of the shorter
    /// questions.
    pub fn allows(&self, message: &str) -> bool {
        let said = words(message);
        !self.short.contains(&said) && !four_grams(&said).any(|run| self.runs.contains(run))
    }

    /// Whether a lesson may ask for a story about two nouns: only if the exam does not.
    pub fn allows_pair(&self, a: &str, b: &str) -> bool {
        a != b && !self.nouns.contains(&[a.to_owned(), b.to_owned()])
    }
}
