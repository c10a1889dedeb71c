//! The loop: which rows the next forward pass takes, and whose turn it is.
//!
//! ```text
//! queue (oldest first) ──admit: worst case fits──► running ──plan──► | d | d | prompt chunk … | ──► one forward
//!                                                     ▲                                              │ logits
//!                                                     └──────── draw, report, or leave ◄─────────────┘
//! ```
//! A request is admitted only when its worst case, prompt and `max_tokens`, fits beside the worst cases of the
//! running ones. So no running request ever lacks a page, and none has to be stopped or computed again.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use sterna_kernels::Cpu;

use super::sequence::{Job, Sequence};
use crate::model::kv::PAGE;
use crate::model::{Batch, KvCache, Model};
use crate::text::Tokenizer;

/// Rows of a step up to which drafted tokens are added. Weights read once serve a few rows for less than their number: 4
/// take as long as 2.1 alone (2B4T, AVX-512), 8 as 4.1, so that more would rarely pay.
const SPECULATED_ROWS: usize = 4;

/// What one step does.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Requests to take from the head of the queue.
    admit: usize,
    /// Rows of each sequence, the admitted ones last.
    rows: Vec<usize>,
}

/// Plans a step. `pending` are the tokens each running sequence still has to compute (oldest first), `queued` the
/// pages that each waiting request takes and the tokens of its prompt, `pages` the pages that nobody may still claim.
///
/// Every decoding sequence (one pending token) gets its row. Prompts share what is left of `chunk` rows, the oldest
/// first; at least one prompt row is planned, so that decoding cannot starve a prompt.
fn plan(pending: &[usize], queued: &[(usize, usize)], pages: usize, chunk: usize) -> Plan {
    let mut free = pages;
    let admitted = queued.iter().take_while(|(pages, _)| {
        let fits = *pages <= free;
        free = if fits { free - pages } else { 0 };
        fits
    });
    let admitted: Vec<usize> = admitted.map(|&(_, prompt)| prompt).collect();
    let pending = pending.iter().chain(&admitted).copied();
    let decoding = pending.clone().filter(|&tokens| tokens == 1).count();
    let mut left = chunk.saturating_sub(decoding).max(1);
    let rows = pending.map(|tokens| {
        let rows = if tokens == 1 { 1 } else { tokens.min(left) };
        left -= if tokens == 1 { 0 } else { rows };
        rows
    });
    Plan { rows: rows.collect(), admit: admitted.len() }
}

/// Owns the cache and everything that runs; lives on the engine thread.
pub(super) struct Scheduler<'a> {
    cpu: &'a Cpu,
    model: &'a dyn Model,
    tokenizer: Option<&'a Tokenizer>,
    kv: KvCache,
    chunk: usize,
    speculation: bool,
    queue: VecDeque<Job>,
    running: Vec<Sequence<'a>>,
    /// Pages of the cache that no running sequence may claim.
    pages: usize,
}

impl<'a> Scheduler<'a> {
    /// A scheduler with an empty cache of `pages` pages that computes `chunk` prompt tokens a step.
    pub fn new(
        cpu: &'a Cpu,
        model: &'a dyn Model,
        tokenizer: Option<&'a Tokenizer>,
        kv: KvCache,
        pages: usize,
        chunk: usize,
        speculation: bool,
    ) -> Self {
        Self { cpu, model, tokenizer, kv, chunk, speculation, queue: VecDeque::new(), running: Vec::new(), pages }
    }

    /// Runs until nobody can send jobs any more and all of them are done.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            if self.queue.is_empty() && self.running.is_empty() {
                let Ok(job) = jobs.recv() else { return };
                self.queue.push_back(job);
            }
            self.queue.extend(jobs.try_iter());
            self.step();
        }
    }

    /// One forward pass for everyone who runs.
    fn step(&mut self) {
        self.queue.retain(|job| !job.cancelled());
        self.retire(|sequence| sequence.cancelled());

        let pending: Vec<usize> = self.running.iter().map(Sequence::pending).collect();
        let queued: Vec<_> =
            self.queue.iter().map(|job| (job.positions().div_ceil(PAGE), job.request.prompt.len())).collect();
        let plan = plan(&pending, &queued, self.pages, self.chunk);
        for job in self.queue.drain(..plan.admit) {
            self.pages -= job.positions().div_ceil(PAGE);
            self.running.push(Sequence::new(job, self.kv.add(), self.tokenizer, self.speculation));
        }
        if self.running.is_empty() {
            assert!(self.queue.is_empty(), "an idle engine has room for every settled request");
            return;
        }

        let batch = self.batch(&plan.rows);
        let hidden = self.model.forward(self.cpu, &batch, &mut self.kv);
        let (cpu, head, vocab) = (self.cpu, self.model.head(), self.model.config().vocab);
        let drawing = self.running.iter().filter(|sequence| sequence.pending() == 0);
        let wanted: Vec<_> = drawing.map(|sequence| sequence.wanted(vocab).collect::<Vec<_>>()).collect();
        let mut found = head.candidates(cpu, &hidden, &wanted.concat()).into_iter();
        let (mut wanted, mut first) = (wanted.iter(), 0);
        self.retire(|sequence| {
            let Some(wanted) = (sequence.pending() == 0).then(|| wanted.next()).flatten() else { return false };
            let rows = found.by_ref().take(wanted.len()).collect();
            first += wanted.len();
            sequence.advance(rows, |row| head.all(cpu, &hidden.select(&[first - wanted.len() + row])))
        });
    }

    /// The rows of a plan, and drafted tokens behind single rows; outputs are the rows of sequences that then have
    /// nothing pending.
    fn batch(&mut self, rows: &[usize]) -> Batch {
        let mut batch = Batch::default();
        let decoding = rows.iter().filter(|&&rows| rows == 1).count();
        let most = (SPECULATED_ROWS / decoding.max(1)).saturating_sub(1);
        for (sequence, &rows) in self.running.iter_mut().zip(rows) {
            let id = sequence.id;
            let (position, tokens) = sequence.take(rows);
            batch.push(id, position, tokens);
            let mut end = position + rows;
            if sequence.pending() == 0 {
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
                self.pages += sequence.positions().div_ceil(PAGE);
            }
            !over
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pending: &[usize], chunk: usize) -> Vec<usize> {
        plan(pending, &[], 0, chunk).rows
    }

    #[test]
    fn decoding_rows_come_first_and_prompts_share_the_rest() {
        assert_eq!(rows(&[300], 128), [128]);
        assert_eq!(rows(&[1, 300, 1], 128), [1, 126, 1]);
        assert_eq!(rows(&[40, 60, 60, 1], 128), [40, 60, 27, 1]);
        assert_eq!(rows(&[128, 60], 128), [128, 0]);
    }

    #[test]
    fn decoding_never_starves_a_prompt() {
        assert_eq!(rows(&[1, 1, 1, 9, 9], 2), [1, 1, 1, 1, 0]);
    }

    #[test]
    fn requests_are_admitted_in_order_while_their_pages_last() {
        let queued = [(4, 10), (4, 1), (2, 5)];
        assert_eq!(plan(&[1], &queued, 10, 64), Plan { admit: 3, rows: vec![1, 10, 1, 5] });
        assert_eq!(plan(&[1], &queued, 9, 64), Plan { admit: 2, rows: vec![1, 10, 1] });
        // The third would fit, but it does not overtake the second.
        assert_eq!(plan(&[], &queued, 7, 64), Plan { admit: 1, rows: vec![10] });
        assert_eq!(plan(&[], &queued, 3, 64), Plan { admit: 0, rows: vec![] });
    }
}
