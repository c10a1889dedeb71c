//! The loop: who runs, and what comes of each forward pass.
//!
//! ```text
//! queue (oldest first) ──admit: worst case fits──► running ──plan──► | d | d | prompt chunk … | ──► one forward
//!                                                     ▲                                              │ logits
//!                                                     └──────── draw, report, or leave ◄─────────────┘
//! ```
//! A request is admitted only when its worst case, prompt and `max_tokens`, fits beside the worst cases of the
//! running ones. So no running request ever lacks a page, and none has to be stopped or computed again. Pages that
//! requests share count once, and a request's prompt is computed from where the cache does not know it, also where
//! another one that begins alike has got further while it waited.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use sterna_kernels::Rows;

use super::Core;
use super::grammar::{Guide, Readers};
use super::plan::{depth, plan};
use super::sequence::{Job, Sequence};
use crate::model::kv::PAGE;
use crate::model::{Batch, KvCache};
use crate::{Error, Result};

/// Owns the cache and everything that runs; lives on the engine thread.
pub(super) struct Scheduler<'a> {
    core: &'a Core,
    /// Pages that the cache may have.
    pages: usize,
    kv: KvCache,
    queue: VecDeque<Job>,
    running: Vec<Sequence<'a>>,
    /// From the first request with a grammar on.
    readers: Option<Readers>,
    /// See [`depth`].
    depth: usize,
}

impl<'a> Scheduler<'a> {
    /// A scheduler with an empty cache of at most `pages` pages.
    pub fn new(core: &'a Core, pages: usize) -> Self {
        let (kv, depth) = (empty_cache(core, pages), depth(core.model.config(), core.cpu.cost()));
        Self { core, pages, kv, queue: VecDeque::new(), running: Vec::new(), readers: None, depth }
    }

    /// Runs until nobody can send jobs any more and all of them are done.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            if self.queue.is_empty() && self.running.is_empty() {
                let Ok(job) = jobs.recv() else { return };
                self.queue.push_back(job);
            }
            self.queue.extend(jobs.try_iter());
            if catch_unwind(AssertUnwindSafe(|| self.step())).is_err() {
                self.restart();
            }
        }
    }

    /// After a panic: what was running fails, and the cache, which may be half written, is dropped. Requests that were
    /// still waiting go on waiting.
    fn restart(&mut self) {
        let counters = &self.core.counters;
        counters.set_up(false);
        counters.restarted(self.running.len());
        for mut sequence in self.running.drain(..) {
            sequence.fail(Error::EngineFailed);
        }
        self.kv = empty_cache(self.core, self.pages);
        counters.set_up(true);
    }

    /// One forward pass for everyone who runs.
    fn step(&mut self) {
        self.queue.retain(|job| !job.reply.cancelled());
        self.retire(|sequence| sequence.cancelled());
        self.admit();
        assert!(self.queue.is_empty() || !self.running.is_empty(), "an idle engine has room for every settled request");

        for sequence in self.running.iter_mut().filter(|sequence| sequence.pending() > 1) {
            let positions = self.kv.share(sequence.id, sequence.shareable());
            sequence.skip_to(positions);
        }
        let pending: Vec<_> = self.running.iter().map(Sequence::still).collect();
        let rows = plan(&pending, self.core.chunk, self.depth);
        let batch = self.batch(&rows);
        if !batch.tokens.is_empty() {
            self.forward(&batch, &rows);
        }
        // If there was nothing to compute, all wait to be told what may follow.
        self.draw(batch.tokens.is_empty());
    }

    /// Takes requests from the head of the queue while their worst cases fit.
    fn admit(&mut self) {
        while let Some(job) = self.queue.front() {
            let prompt = &job.request.prompt;
            // The last token is computed anyway: the first draw reads what comes of it.
            let known = &prompt[..prompt.len() - 1];
            let (shared, idle) = self.kv.shareable(known);
            let promised: usize = self.running.iter().map(|s| s.positions().div_ceil(PAGE) - self.kv.held(s.id)).sum();
            let needed = job.positions().div_ceil(PAGE) - shared + idle;
            if promised + needed > self.kv.free_positions() / PAGE {
                return;
            }
            let id = self.kv.add();
            // Held from now on, so that the next in the queue is not promised the same pages.
            self.kv.share(id, known);
            let Some(mut job) = self.queue.pop_front() else { return };
            match self.guide(&mut job) {
                Ok(guide) => {
                    let (tokenizer, speculation) = (self.core.tokenizer.as_ref().ok(), self.core.speculation);
                    self.running.push(Sequence::new(job, id, tokenizer, guide, speculation));
                }
                Err(error) => {
                    self.kv.remove(id);
                    job.reply.send(Err(error));
                }
            }
        }
    }

    /// The guide of a request with a grammar.
    fn guide(&mut self, job: &mut Job) -> Result<Option<Guide>> {
        let Some(grammar) = job.request.grammar.take() else { return Ok(None) };
        let readers = match &mut self.readers {
            Some(readers) => readers,
            none => none.insert(Readers::start()?),
        };
        Ok(Some(readers.guide(grammar, self.core.model.config().vocab)))
    }

    /// Computes a batch; sequences keep the hidden states that they draw from.
    fn forward(&mut self, batch: &Batch, rows: &[usize]) {
        let hidden = self.core.model.forward(&self.core.cpu, batch, &mut self.kv);
        let mut first = 0;
        for (sequence, rows) in self.running.iter_mut().zip(rows) {
            sequence.waited = if *rows == 0 && sequence.pending() > 0 { sequence.waited + 1 } else { 0 };
            self.kv.publish(sequence.id, sequence.computed());
            let outputs = sequence.outputs();
            if outputs > 0 {
                sequence.keep(hidden.select(&(first..first + outputs).collect::<Vec<_>>()));
                first += outputs;
            }
        }
    }

    /// Draws for everyone who can. With `wait`, those who wait to be told what may follow are waited for.
    fn draw(&mut self, wait: bool) {
        let (cpu, head, vocab) = (&self.core.cpu, self.core.model.head(), self.core.model.config().vocab);
        let (mut hidden, mut wanted) = (Vec::new(), Vec::new());
        // For each sequence, how many draws it has now.
        let mut draws = Vec::new();
        self.retire(|sequence| {
            let draws_now = match sequence.drawable(wait) {
                Ok(rows) => rows.map(|rows| hidden.extend_from_slice(rows.data())).is_some(),
                Err(error) => {
                    sequence.fail(error);
                    return true;
                }
            };
            let asked = if draws_now { sequence.wanted(vocab) } else { Vec::new() };
            draws.push(asked.len());
            wanted.extend(asked);
            false
        });
        if wanted.is_empty() {
            return;
        }
        let hidden = Rows::from_vec(hidden.len() / wanted.len(), hidden);
        let mut found = head.candidates(cpu, &hidden, &wanted).into_iter();
        let mut draws = draws.into_iter();
        self.retire(|sequence| {
            let rows: Vec<_> = found.by_ref().take(draws.next().unwrap_or(0)).collect();
            !rows.is_empty() && sequence.advance(rows, |hidden| head.all(cpu, hidden))
        });
    }

    /// The rows of a plan, and drafted tokens behind single rows; outputs are the rows of sequences that then have
    /// nothing pending.
    fn batch(&mut self, rows: &[usize]) -> Batch {
        let mut batch = Batch::default();
        let decoding = rows.iter().filter(|&&rows| rows == 1).count();
        let most = (self.core.cpu.cost().rows_for_two / decoding.max(1)).saturating_sub(1);
        for (sequence, &rows) in self.running.iter_mut().zip(rows) {
            let id = sequence.id;
            let (position, tokens) = sequence.take(rows);
            batch.push(id, position, tokens);
            let mut end = position + rows;
            if rows > 0 && sequence.pending() == 0 {
                batch.want_last();
                for &token in sequence.speculate(if rows == 1 { most } else { 0 }) {
                    batch.push(id, end, &[token]);
                    batch.want_last();
                    end += 1;
                }
            }
            let reserved = self.kv.reserve(id, end);
            assert!(reserved, "a sequence grew beyond the pages of its admission");
        }
        batch
    }

    /// Removes the sequences that are `over`; their pages are free again.
    fn retire(&mut self, mut over: impl FnMut(&mut Sequence<'a>) -> bool) {
        self.running.retain_mut(|sequence| {
            let over = over(sequence);
            if over {
                self.kv.remove(sequence.id);
            }
            !over
        });
    }
}

fn empty_cache(core: &Core, pages: usize) -> KvCache {
    KvCache::new(core.model.config(), core.kv, pages.saturating_mul(PAGE))
}
