//! The generation loop as a state machine that the caller steps, without a thread or clock.
//!
//! ```text
//! queue (oldest first) ──admit: worst case fits──► running ──plan──► | d | d | prompt chunk … | ──► one forward
//!                                                     ▲                                              │ hidden states
//!                                                     └───────── draw, pool, send or end ◄───────────┘
//! ```
//! Work is admitted only when its worst case, prompt and `max_tokens`, fits beside the worst cases of running work. So
//! a running sequence never lacks a page, and is never preempted or recomputed. Shared pages count once. A prompt is
//! computed from the first position missing in the prefix cache, including prefixes that other prompts computed while
//! it waited.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sterna_kernels::Rows;

use super::accounts::Accounts;
use super::answer::Answer;
use super::grammar::Executor;
use super::job::{Job, JobKind};
use super::loaded::Loaded;
use super::plan::{depth, plan};
use super::pool::Pool;
use super::reply::Reply;
use super::sequence::{Sequence, Task};
use super::{Event, Ticket, Work};
use crate::model::kv::PAGE;
use crate::model::{Batch, Restore, State};
use crate::{Error, Result};

/// Runs work on a network, driven by calls of [`push`](Self::push) and [`step`](Self::step). An
/// [`Engine`](super::Engine) drives it on its own thread;
/// [`EngineBuilder::build_runner`](super::EngineBuilder::build_runner) creates a runner without one.
pub struct Runner {
    loaded: Arc<Loaded>,
    state: State,
    accounts: Accounts,
    queue: VecDeque<(Job, Reply)>,
    running: Vec<Sequence>,
    /// Runs the tasks of grammars.
    executor: Executor,
    /// The result of [`depth`] for this network.
    depth: usize,
}

impl Runner {
    pub(super) fn new(loaded: Arc<Loaded>, executor: Executor) -> Self {
        let ((state, accounts), depth) = (empty(&loaded), depth(loaded.network.config(), loaded.cpu.cost()));
        Self { loaded, state, accounts, queue: VecDeque::new(), running: Vec::new(), executor, depth }
    }

    /// Adds work to the queue. `sink` gets every event within [`step`](Self::step); the last one is [`Event::Finished`]
    /// or an error. Dropping the ticket cancels the work.
    ///
    /// # Errors
    /// [`Error::Request`] and [`Error::PromptTooLong`] if the network cannot do it.
    pub fn push(&mut self, work: impl Into<Work>, sink: impl FnMut(Result<Event>) + Send + 'static) -> Result<Ticket> {
        let job = Job::new(work.into(), &self.loaded)?;
        let (ticket, alive) = Ticket::new();
        self.accept(job, Reply::new(sink, alive));
        Ok(ticket)
    }

    /// Adds work that was already checked.
    pub(super) fn accept(&mut self, job: Job, reply: Reply) {
        self.queue.push_back((job, reply));
    }

    /// Whether no work is queued or running.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// Runs one forward pass for all running work, and draws or sends the results. `false` if there is nothing left to
    /// do.
    ///
    /// If the network panics, the running work fails with [`Error::EngineFailed`], the state is dropped, and the runner
    /// restarts. Queued work stays queued.
    pub fn step(&mut self) -> bool {
        if catch_unwind(AssertUnwindSafe(|| self.advance())).is_err() {
            self.restart();
        }
        !self.is_idle()
    }

    /// Restarts after a panic. The state may be partly written, so it is dropped, and all work that uses it fails.
    fn restart(&mut self) {
        let counters = &self.loaded.counters;
        counters.set_up(false);
        counters.restarted(self.running.len());
        for mut sequence in self.running.drain(..) {
            sequence.fail(Error::EngineFailed);
        }
        (self.state, self.accounts) = empty(&self.loaded);
        self.loaded.counters.set_up(true);
    }

    fn advance(&mut self) {
        self.queue.retain(|(_, reply)| !reply.cancelled());
        self.retire(|sequence| sequence.cancelled());
        self.admit();
        assert!(self.queue.is_empty() || !self.running.is_empty(), "an idle runner has room for every settled job");

        for sequence in self.running.iter_mut().filter(|sequence| sequence.pending() > 1) {
            sequence.take_over(self.accounts.share(sequence.id, sequence.shareable()));
        }
        let snapshots = self.accounts.recurrent();
        let pending: Vec<_> = self.running.iter().map(|sequence| sequence.planned(snapshots)).collect();
        let rows = plan(&pending, self.loaded.chunk, self.depth, self.loaded.network.bidirectional());
        let batch = self.batch(&rows);
        if !batch.tokens.is_empty() {
            self.forward(&batch, &rows);
        }
        // If there was nothing to compute, every sequence waits for its grammar.
        self.draw(batch.tokens.is_empty());
    }

    /// Admits jobs from the front of the queue while their worst cases fit.
    fn admit(&mut self) {
        while self.accounts.has_room()
            && let Some((job, _)) = self.queue.front()
        {
            let (shared, idle) = self.accounts.shareable(&job.tokens[..job.outputs_from]);
            let held = |s: &Sequence| s.positions().div_ceil(PAGE) - self.accounts.pages(s.id).len();
            let promised: usize = self.running.iter().map(held).sum();
            let needed = job.positions.div_ceil(PAGE) - shared + idle;
            if promised + needed > self.accounts.free_pages() {
                return;
            }
            let Some((job, reply)) = self.queue.pop_front() else { return };
            self.start(job, reply);
        }
    }

    /// Makes a job a running sequence.
    fn start(&mut self, mut job: Job, reply: Reply) {
        let id = self.accounts.add();
        let restore = self.accounts.recurrent().then_some(Restore::Empty);
        let task = match &mut job.kind {
            JobKind::Generate(request) => {
                let request = std::mem::take(&mut **request);
                Task::Answer(Box::new(Answer::new(&job.tokens, request, &self.loaded, &self.executor)))
            }
            JobKind::Embed { normalized, dimensions } => Task::Embed(Pool::new(*normalized, *dimensions)),
            JobKind::Score => Task::Score,
        };
        let mut sequence = Sequence::new(id, job, task, restore, reply);
        // Held from now on, so that the next job in the queue cannot count on the same pages.
        sequence.take_over(self.accounts.share(id, sequence.shareable()));
        self.running.push(sequence);
    }

    /// Builds the batch of a plan, with draft tokens after single rows.
    fn batch(&mut self, rows: &[usize]) -> Batch {
        let mut batch = Batch::default();
        let recurrent = self.accounts.recurrent();
        let decoding = rows.iter().filter(|&&rows| rows == 1).count();
        let most = (self.loaded.cpu.cost().rows_for_two / decoding.max(1)).saturating_sub(1);
        for (sequence, &rows) in self.running.iter_mut().zip(rows) {
            let (id, number) = (sequence.id, sequence.id.number());
            batch.restores.extend(sequence.restore.take().map(|restore| (number, restore)).filter(|_| recurrent));
            if rows == 0 {
                continue;
            }
            let first = batch.tokens.len();
            let (start, output) = sequence.compute(rows);
            let speculates = rows == 1 && sequence.pending() == 0;
            sequence.speculate(if speculates { most } else { 0 }, batch.drafts());
            let draft = sequence.draft();
            let reserved = self.accounts.reserve(id, start + rows + draft.len());
            assert!(reserved, "a sequence grew beyond the pages of its admission");
            batch.push(number, self.accounts.pages(id), start, &sequence.computed()[start..]);
            batch.draft(draft);
            batch.outputs.extend(first + output - start..batch.tokens.len());
            if recurrent
                && sequence.snapshot_due()
                && let Some(snapshot) = self.accounts.take_snapshot()
            {
                batch.snapshot(snapshot);
            }
        }
        batch
    }

    /// Computes a batch and gives each sequence the hidden states it needs.
    fn forward(&mut self, batch: &Batch, rows: &[usize]) {
        let loaded = self.loaded.clone();
        let hidden = loaded.network.forward(&loaded.cpu, batch, &mut self.state);
        let (mut runs, mut rows) = (batch.runs().iter(), rows.iter());
        let mut first = 0;
        let accounts = &mut self.accounts;
        let share = !loaded.network.bidirectional();
        let over = |sequence: &mut Sequence, accounts: &mut Accounts| {
            let computes = rows.next().is_some_and(|rows| *rows > 0);
            sequence.waited = if !computes && sequence.pending() > 0 { sequence.waited + 1 } else { 0 };
            let Some(run) = computes.then(|| runs.next()).flatten() else { return false };
            if share {
                accounts.publish(sequence.id, sequence.computed());
            }
            if let Some(snapshot) = run.snapshot {
                accounts.keep_snapshot(sequence.id, snapshot, sequence.computed().len());
            }
            let count = batch.outputs[first..].iter().take_while(|row| **row < run.rows.end).count();
            let range = first..first + count;
            first = range.end;
            count > 0 && sequence.receive(hidden.select(&range.collect::<Vec<_>>()))
        };
        retire(&mut self.running, accounts, over);
    }

    /// Draws for every answer that is ready. With `wait`, waits for grammars.
    fn draw(&mut self, wait: bool) {
        let loaded = self.loaded.clone();
        let Some(head) = loaded.network.head() else { return };
        let (cpu, vocab) = (&loaded.cpu, loaded.network.config().vocab);
        let (mut hidden, mut queries) = (Vec::new(), Vec::new());
        // The number of draws of each sequence.
        let mut draws = Vec::new();
        self.retire(|sequence| match sequence.draws(vocab, wait) {
            Ok(found) => {
                let before = queries.len();
                if let Some((rows, more)) = found {
                    hidden.extend_from_slice(rows.data());
                    queries.extend(more);
                }
                draws.push(queries.len() - before);
                false
            }
            Err(error) => {
                sequence.fail(error);
                true
            }
        });
        if queries.is_empty() {
            return;
        }
        let hidden = Rows::from_vec(hidden.len() / queries.len(), hidden);
        let mut found = head.candidates(cpu, &hidden, &queries).into_iter();
        let mut draws = draws.into_iter();
        self.retire(|sequence| {
            let rows: Vec<_> = found.by_ref().take(draws.next().unwrap_or(0)).collect();
            !rows.is_empty() && sequence.advance(rows, |hidden| head.all(cpu, hidden))
        });
    }

    /// Removes the sequences for which `over` is true, and frees their pages.
    fn retire(&mut self, mut over: impl FnMut(&mut Sequence) -> bool) {
        retire(&mut self.running, &mut self.accounts, |sequence, _| over(sequence));
    }
}

fn retire(
    running: &mut Vec<Sequence>,
    accounts: &mut Accounts,
    mut over: impl FnMut(&mut Sequence, &mut Accounts) -> bool,
) {
    running.retain_mut(|sequence| {
        let over = over(sequence, accounts);
        if over {
            accounts.remove(sequence.id);
        }
        !over
    });
}

/// An empty state and its accounts.
fn empty(loaded: &Loaded) -> (State, Accounts) {
    let state = loaded.network.state(loaded.kv);
    let accounts = Accounts::new(loaded.pages(), loaded.recurrent_budget(&state));
    (state, accounts)
}
