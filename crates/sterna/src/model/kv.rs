//! The paged key/value cache: sequences of pages, taken when needed, shared where texts begin alike.

use sterna_kernels::attention::{self, Layout, Page, Query};
pub use sterna_kernels::attention::{KvType, PAGE};
use sterna_kernels::{Cpu, Rows};

use super::Batch;
use super::pages::Pages;
use crate::checkpoint::Config;

/// A sequence in a [`KvCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(usize);

/// Keys and values of all layers for any number of sequences, within a budget of pages.
pub struct KvCache {
    layout: Layout,
    pages: Vec<Page>,
    numbers: Pages,
    /// `None` is a slot to use again.
    sequences: Vec<Option<Sequence>>,
}

#[derive(Default)]
struct Sequence {
    /// Page numbers, in order of positions.
    pages: Vec<usize>,
    /// Of these, the ones that others may share.
    published: usize,
}

fn layout(config: &Config, kind: KvType) -> Layout {
    Layout { kind, layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim }
}

impl KvCache {
    /// A cache for `positions` tokens over all sequences together. Memory is taken page by page, as needed.
    pub fn new(config: &Config, kind: KvType, positions: usize) -> Self {
        let numbers = Pages::new(positions.div_ceil(PAGE));
        Self { layout: layout(config, kind), pages: Vec::new(), numbers, sequences: Vec::new() }
    }

    /// Bytes that one position takes: keys and values of all layers, and their scales.
    pub fn bytes_per_position(config: &Config, kind: KvType) -> usize {
        layout(config, kind).position_bytes()
    }

    /// A new, empty sequence.
    pub fn add(&mut self) -> SequenceId {
        let slot = self.sequences.iter().position(Option::is_none).unwrap_or_else(|| {
            self.sequences.push(None);
            self.sequences.len() - 1
        });
        self.sequences[slot] = Some(Sequence::default());
        SequenceId(slot)
    }

    /// Forgets a sequence. What it published stays until the room is needed; its other pages are free again.
    pub fn remove(&mut self, sequence: SequenceId) {
        if let Some(sequence) = self.sequences[sequence.0].take() {
            self.numbers.release(&sequence.pages);
        }
    }

    /// Makes room for the first `positions` positions of a sequence; `false` if the budget does not allow it.
    #[must_use]
    pub fn reserve(&mut self, sequence: SequenceId, positions: usize) -> bool {
        let missing = positions.div_ceil(PAGE).saturating_sub(self.held(sequence));
        if missing > self.numbers.available() {
            return false;
        }
        for _ in 0..missing {
            let Some(page) = self.numbers.take() else { return false };
            if page == self.pages.len() {
                self.pages.push(Page::new(&self.layout));
            }
            self.sequences[sequence.0].get_or_insert_default().pages.push(page);
        }
        true
    }

    /// Positions that can still be reserved, in whole pages.
    pub fn free_positions(&self) -> usize {
        self.numbers.available() * PAGE
    }

    /// Pages of a sequence.
    pub fn held(&self, sequence: SequenceId) -> usize {
        self.sequences[sequence.0].as_ref().map_or(0, |sequence| sequence.pages.len())
    }

    /// How many pages a new sequence with these tokens would share, and how many of them nobody holds now.
    pub fn shareable(&self, tokens: &[u32]) -> (usize, usize) {
        let pages = self.numbers.find(&[], tokens);
        (pages.len(), self.numbers.idle_of(&pages))
    }

    /// Gives a sequence of `tokens` the pages that are published for what follows its own, if these are full; returns
    /// how many positions its published pages hold.
    pub fn share(&mut self, sequence: SequenceId, tokens: &[u32]) -> usize {
        let slot = self.sequences[sequence.0].get_or_insert_default();
        if slot.pages.len() == slot.published {
            let pages = self.numbers.find(&slot.pages, tokens);
            self.numbers.hold(&pages);
            slot.pages.extend(pages);
            slot.published = slot.pages.len();
        }
        slot.published * PAGE
    }

    /// Lets others share the full pages of a sequence, whose computed tokens are `tokens`, from its first one.
    pub fn publish(&mut self, sequence: SequenceId, tokens: &[u32]) {
        let slot = self.sequences[sequence.0].as_mut().expect("the sequence is in the cache");
        for tokens in tokens.as_chunks::<PAGE>().0.iter().skip(slot.published) {
            let at = slot.published;
            let before = at.checked_sub(1).map(|before| slot.pages[before]);
            slot.pages[at] = self.numbers.publish(before, *tokens, slot.pages[at]);
            slot.published += 1;
        }
    }

    /// Stores the keys and values of a batch in one layer. The rows' positions must be reserved.
    pub fn store(&mut self, cpu: &Cpu, layer: usize, batch: &Batch, k: &Rows, v: &Rows) {
        let rows = batch.sequences.iter().zip(&batch.positions).enumerate();
        let mut places: Vec<_> = rows.map(|(row, (s, position))| (self.pages_of(*s)[position / PAGE], row)).collect();
        places.sort_unstable();
        // Each page that the batch writes, with its rows: pages go to threads.
        let mut pages = self.pages.iter_mut().enumerate();
        let mut work: Vec<_> = places
            .chunk_by(|a, b| a.0 == b.0)
            .map(|rows| (pages.find(|(number, _)| *number == rows[0].0).expect("numbers are in order").1, rows))
            .collect();
        cpu.pool().pieces(&mut work, 1, |_, work| {
            for (page, rows) in work {
                for &(_, row) in *rows {
                    let slot = batch.positions[row] % PAGE;
                    attention::store(cpu, &self.layout, page, layer, slot, k.row(row), v.row(row));
                }
            }
        });
    }

    fn pages_of(&self, sequence: SequenceId) -> &[usize] {
        &self.sequences[sequence.0].as_ref().expect("the sequence is in the cache").pages
    }

    /// Attention of every row of a batch against its own sequence: rotated queries in, heads side by side out.
    pub fn attend(&self, cpu: &Cpu, layer: usize, batch: &Batch, q: &Rows) -> Rows {
        let rows = batch.sequences.iter().zip(&batch.positions);
        let queries: Vec<_> = rows.map(|(&s, &position)| Query { pages: self.pages_of(s), position }).collect();
        attention::attend(cpu, &self.layout, layer, &self.pages, &queries, q)
    }
}
