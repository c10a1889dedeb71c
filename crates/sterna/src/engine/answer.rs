//! An answer being generated: which tokens are allowed next, the draw, and the resulting text.

use std::sync::Arc;

use sterna_kernels::Rows;

use super::grammar::{Executor, Guide, TokenSet};
use super::loaded::Loaded;
use super::logprob::logprobs;
use super::lookup::Lookup;
use super::sampler::Sampler;
use super::sequence::{Sequence, Task};
use super::{Event, FinishReason, Request};
use crate::Result;
use crate::model::{Candidates, LogitQuery, Need, Restore};
use crate::text::stream::Piece;
use crate::text::{TextStream, Tokenizer};

/// Up to this many allowed tokens, their logits are computed one by one; above it, all logits are computed.
const FEW: usize = 256;

/// The drawing state of a sequence.
pub(super) struct Answer {
    stop_tokens: Vec<u32>,
    logprobs: Option<usize>,
    /// Hidden states for the next draws, from the forward pass until the draw.
    hidden: Option<Rows>,
    /// `None` without speculation.
    lookup: Option<Lookup>,
    /// Draft tokens of this step.
    draft: Vec<u32>,
    /// Number of the first draft token in the batch.
    first_draft: usize,
    drafted: usize,
    accepted: usize,
    sampler: Sampler,
    /// Present if the answer must follow a grammar.
    guide: Option<Guide>,
    /// `None` without a tokenizer, and after a stop string.
    text: Option<TextStream<Arc<Tokenizer>>>,
}

impl Answer {
    /// The answer to a checked request, whose prompt is `prompt`.
    pub fn new(prompt: &[u32], request: Request, loaded: &Loaded, executor: &Executor) -> Self {
        let vocab = loaded.network.config().vocab;
        let guide = request.grammar.map(|grammar| Guide::new(grammar, vocab, executor.clone()));
        let tokenizer = loaded.tokenizer.as_ref().ok().cloned();
        Self {
            stop_tokens: request.stop_tokens,
            logprobs: request.logprobs,
            hidden: None,
            // Drafts ignore the grammar.
            lookup: (loaded.speculation && guide.is_none()).then(Lookup::default),
            draft: Vec::new(),
            first_draft: 0,
            drafted: 0,
            accepted: 0,
            sampler: Sampler::new(request.sampling, prompt),
            guide,
            text: tokenizer.map(|tokenizer| TextStream::new(tokenizer, prompt, &request.stop)),
        }
    }

    /// Stores the hidden states for the next draws.
    pub fn keep(&mut self, hidden: Rows) {
        self.hidden = Some(hidden);
    }

    /// Number of draft tokens computed so far, and how many of them were accepted.
    pub fn drafts(&self) -> (usize, usize) {
        (self.drafted, self.accepted)
    }

    /// The tokens that the grammar allows next, if there is a grammar.
    fn allowed(&mut self) -> Option<&TokenSet> {
        self.guide.as_mut().and_then(|guide| guide.allowed(false).ok().flatten())
    }

    /// The logits needed for each draw of this step: one draw, and one after each draft token. `vocab` is the size of
    /// the vocabulary.
    fn queries(&mut self, vocab: usize) -> Vec<LogitQuery> {
        let all = || LogitQuery { need: Need::All, also: Vec::new() };
        if self.logprobs.is_some() {
            return (0..=self.draft.len()).map(|_| all()).collect();
        }
        if let Some(allowed) = self.allowed() {
            let few = allowed.len() <= FEW;
            return vec![if few { LogitQuery { need: Need::Best(1), also: allowed.iter().collect() } } else { all() }];
        }
        (0..=self.draft.len()).map(|right| self.sampler.query(vocab, &self.draft[..right])).collect()
    }

    /// Draws a token. `all` computes the logits of the whole vocabulary, if `candidates` cannot decide.
    fn sample(&mut self, candidates: &Candidates, all: impl FnOnce() -> Vec<Candidates>) -> u32 {
        let only = self.allowed().map(|allowed| candidates.only(|id| allowed.contains(id)));
        let drawn = self.sampler.draw(only.as_ref().unwrap_or(candidates));
        let drawn = drawn.or_else(|| all().iter().find_map(|all| self.sampler.draw(all)));
        drawn.expect("the whole vocabulary decides")
    }
}

impl Sequence {
    fn answer(&mut self) -> Option<&mut Answer> {
        match &mut self.task {
            Task::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    /// Proposes at most `most` draft tokens after the tokens being computed. `first` is the number of the first draft
    /// token in the batch.
    pub fn speculate(&mut self, most: usize, first: usize) {
        // The last token of an answer is drawn but never computed.
        let room = self.positions().saturating_sub(self.tokens.len() + 1);
        let Task::Answer(answer) = &mut self.task else { return };
        let lookup = answer.lookup.as_mut();
        answer.draft = lookup.map_or_else(Vec::new, |lookup| lookup.propose(&self.tokens, most.min(room)));
        answer.drafted += answer.draft.len();
        answer.first_draft = first;
    }

    /// The draft tokens of this step.
    pub fn draft(&self) -> &[u32] {
        match &self.task {
            Task::Answer(answer) => &answer.draft,
            _ => &[],
        }
    }

    /// The hidden states to draw from now, and the logits needed for each draw. `None` while tokens are pending, or
    /// while the grammar's allowed tokens are not known yet (unless `wait` is set). `vocab` is the size of the
    /// vocabulary.
    ///
    /// # Errors
    /// If the grammar allows nothing, or fails.
    pub fn draws(&mut self, vocab: usize, wait: bool) -> Result<Option<(&Rows, Vec<LogitQuery>)>> {
        let Some(answer) = self.answer() else { return Ok(None) };
        if let (Some(_), Some(guide)) = (&answer.hidden, &mut answer.guide)
            && guide.allowed(wait)?.is_none()
        {
            return Ok(None);
        }
        if answer.hidden.is_none() {
            return Ok(None);
        }
        let queries = answer.queries(vocab);
        Ok(answer.hidden.as_ref().map(|hidden| (hidden, queries)))
    }

    /// Draws and reports tokens from `rows`, one row for each of [`draws`](Self::draws), as long as the drawn tokens
    /// are the draft tokens. `all(hidden)` computes the whole vocabulary where a row cannot decide. `true` if the
    /// answer ended.
    pub fn advance(&mut self, rows: Vec<Candidates>, all: impl Fn(&Rows) -> Vec<Candidates>) -> bool {
        let Some(answer) = self.answer() else { return false };
        let Some(hidden) = answer.hidden.take() else { return false };
        let (draft, first_draft) = (std::mem::take(&mut answer.draft), answer.first_draft);
        let mut right = 0;
        for (row, candidates) in rows.into_iter().enumerate() {
            let drafted = draft.get(row).copied();
            if self.draw(&candidates, drafted, || all(&hidden.select(&[row]))) {
                return true;
            }
            if self.pending() > 0 {
                break;
            }
            right = row + 1;
        }
        if !draft.is_empty() {
            // The recurrent state after the last accepted draft token becomes the sequence's state.
            self.restore = right.checked_sub(1).map(|last| Restore::Draft(first_draft + last));
            if let Some(lookup) = self.answer().and_then(|answer| answer.lookup.as_mut()) {
                lookup.learn(right);
            }
        }
        false
    }

    /// Draws and reports one token. If it equals `drafted`, it is already computed. `true` if it ended the answer.
    fn draw(&mut self, candidates: &Candidates, drafted: Option<u32>, all: impl FnOnce() -> Vec<Candidates>) -> bool {
        let Task::Answer(answer) = &mut self.task else { return false };
        let id = answer.sample(candidates, all);
        if answer.stop_tokens.contains(&id) {
            return self.finish(FinishReason::Stop, None);
        }
        self.tokens.push(id);
        if let Some(guide) = &mut answer.guide {
            guide.accept(id);
        }
        if drafted == Some(id) {
            self.computed += 1;
            answer.accepted += 1;
        }
        let logprobs = answer.logprobs.map(|alternatives| logprobs(&candidates.logits, id, alternatives));
        let (text, stop) = match answer.text.as_mut().map(|text| text.push(id)) {
            None => (String::new(), None),
            Some(Piece::Text(text)) => (text, None),
            Some(Piece::Stop { text, index }) => (text, Some(index)),
        };
        if stop.is_some() {
            answer.text = None;
        }
        self.reply.send(Ok(Event::Token { id, text, logprobs, at: None }));
        if stop.is_some() {
            return self.finish(FinishReason::Stop, stop);
        }
        self.tokens.len() == self.positions() && self.finish(FinishReason::Length, None)
    }

    fn finish(&mut self, reason: FinishReason, stop: Option<usize>) -> bool {
        let text = self.answer().and_then(|answer| answer.text.take());
        let text = text.map(TextStream::finish).unwrap_or_default();
        let usage = self.usage();
        self.reply.send(Ok(Event::Finished { reason, text, stop, usage }));
        true
    }
}
