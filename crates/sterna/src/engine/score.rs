//! Results of scoring: hidden states, and logits computed from them.

use sterna_kernels::{Cpu, Rows};

use super::{Event, Generation};
use crate::Result;
use crate::model::Head;

/// The hidden states of a text, part by part as they are computed ([`Engine::score`](super::Engine::score)). An item is
/// the index of the part's first token, and a row for each token. Dropping it cancels the work.
#[derive(Debug)]
pub struct Scores {
    pub(super) events: Generation,
}

impl Iterator for Scores {
    type Item = Result<(usize, Rows)>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.events.next()? {
            Ok(Event::Hidden { first, rows }) => Some(Ok((first, rows))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl std::iter::FusedIterator for Scores {}

/// The logits of a text, part by part: `(token, vocab)` ([`Engine::logits`](super::Engine::logits)). They are computed
/// on the caller's thread when the part is read. Dropping it cancels the work.
pub struct Logits<'a> {
    pub(super) cpu: &'a Cpu,
    pub(super) head: &'a Head,
    pub(super) scores: Scores,
}

impl Iterator for Logits<'_> {
    type Item = Result<Rows>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.scores.next()?.map(|(_, hidden)| self.head.logits(self.cpu, &hidden)))
    }
}

impl std::iter::FusedIterator for Logits<'_> {}
