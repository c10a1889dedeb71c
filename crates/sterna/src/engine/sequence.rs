//! A running sequence: its tokens, how many are computed, and the use of its hidden states.

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

/// The use of the hidden states.
pub(super) enum Task {
    /// Drawing tokens.
    Answer(Box<Answer>),
    /// Pooling into one vector.
    Embed(Pool),
    /// Sending them to the caller.
    Score,
}

/// A running sequence.
pub(super) struct Sequence {
    pub id: SequenceId,
    /// Tokens of the prompt and the answer.
    pub(super) tokens: Vec<u32>,
    pub(super) prompt_tokens: usize,
    /// Greatest number of positions that it can need.
    positions: usize,
    /// The first token whose hidden state is needed.
    outputs_from: usize,
    /// Prompt tokens found in the prefix cache.
    pub(super) cached_tokens: usize,
    /// Number of tokens that the network's state contains.
    pub(super) computed: usize,
    /// Steps without a row of the prompt.
    pub waited: usize,
    /// The value that its recurrent state gets before the next batch.
    pub(super) restore: Option<Restore>,
    pub(super) task: Task,
    pub(super) reply: Reply,
}

impl Sequence {
    /// The sequence of a job, with nothing computed yet. `restore` is the initial value of its recurrent state.
    pub fn new(id: SequenceId, job: Job, task: Task, restore: Option<Restore>, reply: Reply) -> Self {
        let Job { tokens, positions, outputs_from, .. } = job;
        Self {
            id,
            prompt_tokens: tokens.len(),
            tokens,
            positions,
            outputs_from,
            cached_tokens: 0,
            computed: 0,
            waited: 0,
            restore,
            task,
            reply,
        }
    }

    /// Greatest number of positions that the sequence can need.
    pub fn positions(&self) -> usize {
        self.positions
    }

    pub fn cancelled(&self) -> bool {
        self.reply.cancelled()
    }

    /// The tokens that the network's state contains.
    pub fn computed(&self) -> &[u32] {
        &self.tokens[..self.computed]
    }

    /// Number of tokens not in the state yet: the rest of the prompt, or the token drawn last. 0 between the forward
    /// pass and the draw.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// The pending tokens for planning a step. With `snapshots`, rows end where a snapshot is due.
    pub fn planned(&self, snapshots: bool) -> Pending {
        let pending = self.pending();
        let most = if snapshots { self.next_snapshot().map_or(pending, |at| at - self.computed) } else { pending };
        Pending { tokens: pending, most: most.min(pending), at: self.computed, waited: self.waited }
    }

    /// The next position after which a snapshot is due: at regular intervals, and after the last full page of the
    /// prompt that can be shared.
    fn next_snapshot(&self) -> Option<usize> {
        let regular = (self.computed / SNAPSHOT_EVERY + 1) * SNAPSHOT_EVERY;
        let last = (self.prompt_tokens - 1) / PAGE * PAGE;
        [regular, last].into_iter().filter(|at| (self.computed + 1..=self.tokens.len()).contains(at)).min()
    }

    /// Whether a snapshot is due after the computed tokens.
    pub fn snapshot_due(&self) -> bool {
        let last = (self.prompt_tokens - 1) / PAGE * PAGE;
        self.computed > 0 && (self.computed.is_multiple_of(SNAPSHOT_EVERY) || self.computed == last)
    }

    /// The part of the prompt that may come from the prefix cache, because its hidden states are not needed.
    pub fn shareable(&self) -> &[u32] {
        &self.tokens[..self.outputs_from]
    }

    /// Uses the positions found in the prefix cache, which need not be computed.
    pub fn take_over(&mut self, shared: Shared) {
        let skipped = shared.positions.saturating_sub(self.computed);
        self.cached_tokens += skipped;
        self.computed += skipped;
        self.restore = shared.restore.or(self.restore);
    }

    /// Marks the next `len` pending tokens as computed. Returns the position of the first, and the first position whose
    /// hidden state is needed.
    pub fn compute(&mut self, len: usize) -> (usize, usize) {
        let start = self.computed;
        self.computed += len;
        (start, self.outputs_from.clamp(start, self.computed))
    }

    /// Takes the hidden states it needs; `true` if the work is finished.
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
                stop: None,
                usage: self.usage(),
            }));
        }
        done
    }

    /// Token counts so far; the engine adds times.
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
