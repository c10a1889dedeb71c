//! Keeps the lessons apart from the exam.

use std::collections::HashSet;

use crate::score::{pairs, questions};
use crate::words::{four_grams, words};

/// What lessons may not say.
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
    /// Whether a message shares no run of four words with a question, and is not one of the questions that are shorter.
    pub fn allows(&self, message: &str) -> bool {
        let said = words(message);
        !self.short.contains(&said) && !four_grams(&said).any(|run| self.runs.contains(run))
    }

    /// Whether a lesson may ask for a story about two nouns.
    pub fn allows_pair(&self, a: &str, b: &str) -> bool {
        a != b && !self.nouns.contains(&[a.to_owned(), b.to_owned()])
    }
}
