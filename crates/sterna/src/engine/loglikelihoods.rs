//! Log-likelihoods of continuations, several at a time.

use std::collections::VecDeque;

use super::{Engine, Score, Scores};
use crate::{Error, Result};

/// Texts that are submitted before the first of them is read. A step computes those that fit.
const AHEAD: usize = 64;

/// The log-likelihoods of continuations, each of its context, in their order ([`Engine::loglikelihoods`]). Texts are read as
/// they are needed. Dropping it cancels the work.
pub struct Loglikelihoods<'a, I> {
    engine: &'a Engine,
    texts: I,
    running: VecDeque<Result<Running>>,
}

/// A continuation whose hidden states are being computed.
struct Running {
    scores: Scores,
    /// Index of the first hidden state, that of the last token of the context.
    from: usize,
    continuation: Vec<u32>,
}

impl<'a, I: Iterator<Item = (Vec<u32>, Vec<u32>)>> Loglikelihoods<'a, I> {
    pub(super) fn new(engine: &'a Engine, texts: I) -> Self {
        Self { engine, texts, running: VecDeque::new() }
    }

    fn start(&self, mut tokens: Vec<u32>, continuation: Vec<u32>) -> Result<Running> {
        let from = tokens.len().checked_sub(1);
        let from = from.ok_or_else(|| Error::request("tokens", "the context has no tokens; give it at least one"))?;
        tokens.extend(continuation.split_last().map_or(&[][..], |(_, before)| before));
        Ok(Running { scores: self.engine.score(Score::new(tokens).from(from))?, from, continuation })
    }

    fn total(&self, running: Running) -> Result<f64> {
        let mut sum = 0.0;
        for part in running.scores {
            let (first, hidden) = part?;
            let next = &running.continuation[(first - running.from).min(running.continuation.len())..];
            let next = &next[..next.len().min(hidden.len())];
            let found = self.engine.logprobs(&hidden, next, 0)?;
            sum += found.iter().map(|(token, _)| f64::from(token.logprob)).sum::<f64>();
        }
        Ok(sum)
    }
}

impl<I: Iterator<Item = (Vec<u32>, Vec<u32>)>> Iterator for Loglikelihoods<'_, I> {
    type Item = Result<f64>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.running.len() < AHEAD
            && let Some((context, continuation)) = self.texts.next()
        {
            let started = self.start(context, continuation);
            self.running.push_back(started);
        }
        let running = self.running.pop_front()?;
        Some(running.and_then(|running| self.total(running)))
    }
}
