//! One running request: its tokens, its sampler, its text, and the channel its events go to.

use std::time::Instant;

use sterna_kernels::Rows;

use super::grammar::{Guide, TokenSet};
use super::logprob::logprobs;
use super::lookup::Lookup;
use super::plan::Pending;
use super::reply::Reply;
use super::sampler::Sampler;
use super::{Event, FinishReason, Request, Usage};
use crate::model::{Candidates, Need, SequenceId, Wanted};
use crate::text::stream::Piece;
use crate::text::{TextStream, Tokenizer};
use crate::{Error, Result};

/// What may follow by a grammar is looked up one by one if it is no more than this, otherwise among all logits.
const FEW: usize = 256;

/// A settled request on its way to the loop.
pub(super) struct Job {
    /// Prompt not empty; stop tokens complete.
    pub request: Request,
    /// Tokens at most; together with the prompt they fit into the context.
    pub max_tokens: usize,
    pub submitted: Instant,
    pub reply: Reply,
}

impl Job {
    /// Positions of the cache that the request takes at worst.
    pub fn positions(&self) -> usize {
        self.request.prompt.len() + self.max_tokens
    }
}

/// A job that has its place in the cache.
pub(super) struct Sequence<'a> {
    job: Job,
    pub id: SequenceId,
    /// Prompt and answer.
    tokens: Vec<u32>,
    prompt_tokens: usize,
    /// Tokens of the prompt that the cache had from others.
    cached_tokens: usize,
    /// Tokens whose keys and values are in the cache.
    computed: usize,
    /// Steps that went by without a row of the prompt.
    pub waited: usize,
    /// What the next draws read, from the forward pass until the draw.
    hidden: Option<Rows>,
    /// `None` without speculation.
    lookup: Option<Lookup>,
    /// Tokens of this step that nobody has drawn yet.
    draft: Vec<u32>,
    drafted: usize,
    accepted: usize,
    sampler: Sampler,
    /// Of an answer that must follow a grammar.
    guide: Option<Guide>,
    /// `None` without a tokenizer, and after a stop string.
    text: Option<TextStream<'a>>,
    first_draw: Option<Instant>,
    last_token: Option<Instant>,
}

impl<'a> Sequence<'a> {
    /// Nothing of it is computed yet.
    pub fn new(
        mut job: Job,
        id: SequenceId,
        tokenizer: Option<&'a Tokenizer>,
        guide: Option<Guide>,
        speculation: bool,
    ) -> Self {
        let tokens = std::mem::take(&mut job.request.prompt);
        let sampler = Sampler::new(job.request.sampling.clone(), &tokens);
        let text = tokenizer.map(|tokenizer| TextStream::new(tokenizer, &tokens, &job.request.stop));
        let prompt_tokens = tokens.len();
        Self {
            job,
            id,
            tokens,
            prompt_tokens,
            cached_tokens: 0,
            computed: 0,
            waited: 0,
            hidden: None,
            // What is drafted knows nothing of a grammar.
            lookup: (speculation && guide.is_none()).then(Lookup::default),
            draft: Vec::new(),
            drafted: 0,
            accepted: 0,
            sampler,
            guide,
            text,
            first_draw: None,
            last_token: None,
        }
    }

    /// Positions of the cache that the sequence takes at worst.
    pub fn positions(&self) -> usize {
        self.prompt_tokens + self.job.max_tokens
    }

    pub fn cancelled(&self) -> bool {
        self.job.reply.cancelled()
    }

    /// The tokens that the cache has.
    pub fn computed(&self) -> &[u32] {
        &self.tokens[..self.computed]
    }

    /// Tokens the cache does not have yet: the rest of the prompt, or the token drawn last; none between the forward
    /// pass and the draw.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// The same for the plan of a step.
    pub fn still(&self) -> Pending {
        Pending { tokens: self.pending(), at: self.computed, waited: self.waited }
    }

    /// What others may compute of the prompt while it waits; the last token is computed anyway, for what is drawn from it.
    pub fn shareable(&self) -> &[u32] {
        &self.tokens[..self.prompt_tokens - 1]
    }

    /// The cache has the first `positions` tokens, of which this sequence need not compute any more.
    pub fn skip_to(&mut self, positions: usize) {
        let skipped = positions.saturating_sub(self.computed);
        self.cached_tokens += skipped;
        self.computed += skipped;
    }

    /// The next `len` pending tokens and the position of the first; they count as computed from here on.
    pub fn take(&mut self, len: usize) -> (usize, &[u32]) {
        let start = self.computed;
        self.computed += len;
        (start, &self.tokens[start..self.computed])
    }

    /// At most `most` tokens that may follow those that are computed now, to be computed with them.
    pub fn speculate(&mut self, most: usize) -> &[u32] {
        // The last token of an answer is drawn, never computed.
        let room = self.positions() - self.tokens.len() - 1;
        let lookup = self.lookup.as_mut();
        self.draft = lookup.map_or_else(Vec::new, |lookup| lookup.propose(&self.tokens, most.min(room)));
        self.drafted += self.draft.len();
        &self.draft
    }

    /// Rows that the next draws need of this step's forward pass: none while there are pending tokens.
    pub fn outputs(&self) -> usize {
        if self.pending() == 0 && self.hidden.is_none() { 1 + self.draft.len() } else { 0 }
    }

    /// Keeps the hidden states that the next draws read.
    pub fn keep(&mut self, hidden: Rows) {
        self.hidden = Some(hidden);
    }

    /// The hidden states to draw from now; none while there are pending tokens, or while it is not known yet what may
    /// follow (unless `wait` is set). An error if nothing may.
    pub fn drawable(&mut self, wait: bool) -> Result<Option<&Rows>> {
        if let (Some(_), Some(guide)) = (&self.hidden, &mut self.guide)
            && guide.allowed(wait)?.is_none()
        {
            return Ok(None);
        }
        Ok(self.hidden.as_ref())
    }

    /// What may be drawn next by the grammar, if there is one.
    fn allowed(&mut self) -> Option<&TokenSet> {
        self.guide.as_mut().and_then(|guide| guide.allowed(false).ok().flatten())
    }

    /// What the draws of this step need of a vocabulary of `vocab` tokens: one, and one behind each drafted token.
    pub fn wanted(&mut self, vocab: usize) -> Vec<Wanted> {
        let all = || Wanted { need: Need::All, also: Vec::new() };
        if self.job.request.logprobs.is_some() {
            return (0..=self.draft.len()).map(|_| all()).collect();
        }
        if let Some(allowed) = self.allowed() {
            let few = allowed.len() <= FEW;
            return vec![if few { Wanted { need: Need::Best(1), also: allowed.iter().collect() } } else { all() }];
        }
        (0..=self.draft.len()).map(|right| self.sampler.wanted(vocab, &self.draft[..right])).collect()
    }

    /// Draws tokens from `rows`, what each draw of this step [`wanted`](Self::wanted), for as long as they are the
    /// drafted ones, and reports them. `all(hidden)` is asked where a row does not decide; `true` if the answer ended.
    pub fn advance(&mut self, rows: Vec<Candidates>, all: impl Fn(&Rows) -> Vec<Candidates>) -> bool {
        let Some(hidden) = self.hidden.take() else { return false };
        let draft = std::mem::take(&mut self.draft);
        let before = self.accepted;
        for (row, candidates) in rows.into_iter().enumerate() {
            if self.draw(candidates, draft.get(row).copied(), || all(&hidden.select(&[row]))) {
                return true;
            }
            if self.pending() > 0 {
                break;
            }
        }
        if let (Some(lookup), false) = (&mut self.lookup, draft.is_empty()) {
            lookup.learn(self.accepted - before);
        }
        false
    }

    /// Draws one token, which is computed already if it is the `drafted` one, and reports it; `true` if that ended the
    /// answer.
    fn draw(&mut self, candidates: Candidates, drafted: Option<u32>, all: impl FnOnce() -> Vec<Candidates>) -> bool {
        let only = self.allowed().map(|allowed| candidates.only(|id| allowed.contains(id)));
        let drawn = self.sampler.draw(only.as_ref().unwrap_or(&candidates));
        let id = drawn.or_else(|| all().iter().find_map(|all| self.sampler.draw(all)));
        let id = id.expect("the whole vocabulary decides");
        let now = Instant::now();
        self.first_draw.get_or_insert(now);
        if self.job.request.stop_tokens.contains(&id) {
            return self.finish(FinishReason::Stop);
        }
        self.last_token = Some(now);
        self.tokens.push(id);
        if let Some(guide) = &mut self.guide {
            guide.accept(id);
        }
        if drafted == Some(id) {
            self.computed += 1;
            self.accepted += 1;
        }
        let logprobs = self.job.request.logprobs.map(|alternatives| logprobs(&candidates.logits, id, alternatives));
        let (text, stopped) = match self.text.as_mut().map(|text| text.push(id)) {
            None => (String::new(), false),
            Some(Piece::Text(text)) => (text, false),
            Some(Piece::Stop(text)) => (text, true),
        };
        self.send(Event::Token { id, text, logprobs, at: now });
        if stopped {
            self.text = None;
            return self.finish(FinishReason::Stop);
        }
        self.tokens.len() == self.positions() && self.finish(FinishReason::Length)
    }

    fn finish(&mut self, reason: FinishReason) -> bool {
        let text = self.text.take().map(TextStream::finish).unwrap_or_default();
        let seconds = |from: Instant, to: Option<Instant>| to.map_or(0.0, |to| (to - from).as_secs_f64());
        let usage = Usage {
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            tokens: self.tokens.len() - self.prompt_tokens,
            prefill_seconds: seconds(self.job.submitted, self.first_draw),
            decode_seconds: self.first_draw.map_or(0.0, |first| seconds(first, self.last_token)),
            drafted: self.drafted,
            accepted: self.accepted,
        };
        self.send(Event::Finished { reason, text, usage });
        true
    }

    /// Ends the answer with an error.
    pub fn fail(&mut self, error: Error) {
        self.job.reply.send(Err(error));
    }

    /// Cancelled requests are noticed at the next step.
    fn send(&mut self, event: Event) {
        self.job.reply.send(Ok(event));
    }
}
