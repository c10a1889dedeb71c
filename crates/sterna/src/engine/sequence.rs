//! One running piece of work: its tokens, how far they are computed, and what becomes of the hidden states.

use sterna_kernels::Rows;

use super::accounts::{SequenceId, Shared};
use super::answer::Answer;
use super::job::Job;
use super::plan::Pending;
use super::pool::Pool;
use super::reply::Reply;
use super::{Event, FinishReason, Usage};
use crate::Error;
use crate::model::Restore;
use crate::model::kv::PAGE;

/// Positions between snapshots of recurrent states; a multiple of [`PAGE`].
const SNAPSHOT_EVERY: usize = 8 * PAGE;

/// What is made of the hidden states.
pub(super) enum Task {
    /// Tokens are drawn.
    Answer(Box<Answer>),
    /// They become one vector.
    Embed(Pool),
    /// They are handed on.
    Score,
}

/// A piece of work that has its place in the accounts.
pub(super) struct Sequence {
    pub id: SequenceId,
    /// Prompt and answer.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt_tokens: usize,
    /// Positions that it takes at worst.
    positions: usize,
    /// The first token whose hidden state is needed.
    wanted_from: usize,
    /// Tokens of the prompt that the prefix cache had.
    pub(super) cached_tokens: usize,
    /// Tokens that the state of the network has seen.
    pub(super) computed: usize,
    /// Steps that went by without a row of the prompt.
    pub waited: usize,
    /// What its recurrent state becomes before the next batch.
    pub(super) restore: Option<Restore>,
    pub(super) task: Task,
    pub(super) reply: Reply,
}

impl Sequence {
    /// The sequence of a job, of which nothing is computed yet; `restore` is what its recurrent state begins with.
    pub fn new(id: SequenceId, job: Job, task: Task, restore: Option<Restore>, reply: Reply) -> Self {
        let Job { tokens, positions, wanted_from, .. } = job;
        Self {
            id,
            prompt_tokens: tokens.len(),
            tokens,
            positions,
            wanted_from,
            cached_tokens: 0,
            computed: 0,
            waited: 0,
            restore,
            task,
            reply,
        }
    }

    /// Positions that the sequence takes at worst.
    pub fn positions(&self) -> usize {
        self.positions
    }

    pub fn cancelled(&self) -> bool {
        self.reply.cancelled()
    }

    /// The tokens that the state of the network has seen.
    pub fn computed(&self) -> &[u32] {
        &self.tokens[..self.computed]
    }

    /// Tokens the state has not seen yet: the rest of the prompt, or the token drawn last; none between the forward pass
    /// and the draw.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// The pending tokens for the plan of a step. With `snapshots`, rows end where a snapshot is due.
    pub fn planned(&self, snapshots: bool) -> Pending {
        let pending = self.pending();
        let most = if snapshots { self.next_snapshot().map_or(pending, |at| at - self.computed) } else { pending };
        Pending { tokens: pending, most: most.min(pending), at: self.computed, waited: self.waited }
    }

    /// The next position behind which a snapshot is due: every so many pages, and behind the last full page that others
    /// may share of the prompt.
    fn next_snapshot(&self) -> Option<usize> {
        let regular = (self.computed / SNAPSHOT_EVERY + 1) * SNAPSHOT_EVERY;
        let last = (self.prompt_tokens - 1) / PAGE * PAGE;
        [regular, last].into_iter().filter(|at| (self.computed + 1..=self.tokens.len()).contains(at)).min()
    }

    /// Whether a snapshot is due behind the computed tokens.
    pub fn snapshot_due(&self) -> bool {
        let last = (self.prompt_tokens - 1) / PAGE * PAGE;
        self.computed > 0 && (self.computed.is_multiple_of(SNAPSHOT_EVERY) || self.computed == last)
    }

    /// The beginning of the prompt that may come from the prefix cache: its hidden states are not needed.
    pub fn shareable(&self) -> &[u32] {
        &self.tokens[..self.wanted_from]
    }

    /// Takes over what the prefix cache has: these tokens need not be computed.
    pub fn take_over(&mut self, shared: Shared) {
        let skipped = shared.positions.saturating_sub(self.computed);
        self.cached_tokens += skipped;
        self.computed += skipped;
        self.restore = shared.restore.or(self.restore);
    }

    /// Counts the next `len` pending tokens as computed; returns the position of the first, and that of the first one
    /// whose hidden state is needed.
    pub fn compute(&mut self, len: usize) -> (usize, usize) {
        let start = self.computed;
        self.computed += len;
        (start, self.wanted_from.clamp(start, self.computed))
    }

    /// Gets the hidden states that were asked for; `true` if that ended the work.
    pub fn receive(&mut self, hidden: Rows) -> bool {
        let done = self.tokens.len() == self.computed;
        match &mut self.task {
            Task::Answer(answer) => {
                answer.keep(hidden);
                return false;
            }
            Task::Embed(pool) => {
                pool.add(&hidden);
                if done {
                    self.reply.send(Ok(Event::Embedding(pool.finish())));
                }
            }
            Task::Score => {
                let first = self.computed - hidden.len();
                self.reply.send(Ok(Event::Hidden { first, rows: hidden }));
            }
        }
        if done {
            self.reply.send(Ok(Event::Finished {
                reason: FinishReason::Stop,
                text: String::new(),
                usage: self.usage(),
            }));
        }
        done
    }

    /// What the work took so far; times are the engine's to fill in.
    pub(super) fn usage(&self) -> Usage {
        let (drafted, accepted) = match &self.task {
            Task::Answer(answer) => answer.drafts(),
            _ => (0, 0),
        };
        Usage {
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            tokens: self.tokens.len() - self.prompt_tokens,
            drafted,
            accepted,
            ..Usage::default()
        }
    }

    /// Ends the work with an error.
    pub fn fail(&mut self, error: Error) {
        self.reply.send(Err(error));
    }
}
