//! The paged key/value cache: sequences of pages, taken when needed and given back whole.

use sterna_kernels::attention::{self, Layout, Page, Query};
pub use sterna_kernels::attention::{KvType, PAGE};
use sterna_kernels::{Cpu, Rows};

use super::Batch;
use crate::checkpoint::Config;

/// A sequence in a [`KvCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(usize);

/// Keys and values of all layers for any number of sequences, within a budget of pages.
pub struct KvCache {
    layout: Layout,
    pages: Vec<Page>,
    free: Vec<usize>,
    /// Page numbers of each sequence, in order of positions; `None` is a slot to use again.
    sequences: Vec<Option<Vec<usize>>>,
    budget: usize,
}

fn layout(config: &Config, kind: KvType) -> Layout {
    Layout { kind, layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim }
}

impl KvCache {
    /// A cache for `positions` tokens over all sequences together. Memory is taken page by page, as needed.
    pub fn new(config: &Config, kind: KvType, positions: usize) -> Self {
        let layout = layout(config, kind);
        Self { layout, pages: Vec::new(), free: Vec::new(), sequences: Vec::new(), budget: positions.div_ceil(PAGE) }
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
        self.sequences[slot] = Some(Vec::new());
        SequenceId(slot)
    }

    /// Forgets a sequence; its pages are free again.
    pub fn remove(&mut self, sequence: SequenceId) {
        if let Some(pages) = self.sequences[sequence.0].take() {
            self.free.extend(pages);
        }
    }

    /// Makes room for the first `positions` positions of a sequence; `false` if the budget does not allow it.
    #[must_use]
    pub fn reserve(&mut self, sequence: SequenceId, positions: usize) -> bool {
        let have = self.sequences[sequence.0].as_ref().map_or(0, Vec::len);
        let missing = positions.div_ceil(PAGE).saturating_sub(have);
        if missing > self.free_pages() {
            return false;
        }
        for _ in 0..missing {
            let page = self.free.pop().unwrap_or_else(|| {
                self.pages.push(Page::new(&self.layout));
                self.pages.len() - 1
            });
            self.sequences[sequence.0].get_or_insert_default().push(page);
        }
        true
    }

    /// Positions that can still be reserved, in whole pages.
    pub fn free_positions(&self) -> usize {
        self.free_pages() * PAGE
    }

    fn free_pages(&self) -> usize {
        self.free.len() + (self.budget - self.pages.len())
    }

    /// Stores the keys and values of a batch in one layer. The rows' positions must be reserved.
    pub fn store(&mut self, cpu: &Cpu, layer: usize, batch: &Batch, k: &Rows, v: &Rows) {
        let rows = batch.sequences.iter().zip(&batch.positions).enumerate();
        let mut places: Vec<_> = rows.map(|(row, (s, position))| (self.numbers(*s)[position / PAGE], row)).collect();
        places.sort_unstable();
        // Each page that the batch writes, with its rows: pages go to threads.
        let mut pages = self.pages.iter_mut().enumerate();
        let mut work: Vec<_> = places
            .chunk_by(|a, b| a.0 == b.0)
            .map(|rows| (pages.find(|(number, _)| *number == rows[0].0).expect("numbers are in order").1, rows))
            .collect();
        cpu.pool.pieces(&mut work, 1, |_, work| {
            for (page, rows) in work {
                for &(_, row) in *rows {
                    let slot = batch.positions[row] % PAGE;
                    attention::store(cpu, &self.layout, page, layer, slot, k.row(row), v.row(row));
                }
            }
        });
    }

    fn numbers(&self, sequence: SequenceId) -> &[usize] {
        self.sequences[sequence.0].as_ref().expect("the sequence is in the cache")
    }

    /// Attention of every row of a batch against its own sequence: rotated queries in, heads side by side out.
    pub fn attend(&self, cpu: &Cpu, layer: usize, batch: &Batch, q: &Rows) -> Rows {
        let rows = batch.sequences.iter().zip(&batch.positions);
        let queries: Vec<_> = rows.map(|(&s, &position)| Query { pages: self.numbers(s), position }).collect();
        attention::attend(cpu, &self.layout, layer, &self.pages, &queries, q)
    }
}
