//! The paged key/value cache: sequences of pages, taken when needed and given back whole.

use sterna_kernels::attention::{self, Layout, Query};
use sterna_kernels::{Cpu, Rows};

use super::Batch;
use crate::checkpoint::Config;

/// Positions in a page.
pub const PAGE: usize = 32;

/// A sequence in a [`KvCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(usize);

/// Keys and values of all layers, as halves, for any number of sequences within a budget of pages.
pub struct KvCache {
    layout: Layout,
    pages: Vec<Box<[u16]>>,
    free: Vec<usize>,
    /// Page numbers of each sequence, in order of positions; `None` is a slot to use again.
    sequences: Vec<Option<Vec<usize>>>,
    budget: usize,
}

impl KvCache {
    /// A cache for `positions` tokens over all sequences together. Memory is taken page by page, as needed.
    pub fn new(config: &Config, positions: usize) -> Self {
        let layout =
            Layout { layers: config.layers, kv_heads: config.kv_heads, head_dim: config.head_dim, page_len: PAGE };
        Self { layout, pages: Vec::new(), free: Vec::new(), sequences: Vec::new(), budget: positions.div_ceil(PAGE) }
    }

    /// Bytes that one position takes: keys and values of all layers.
    pub fn bytes_per_position(config: &Config) -> usize {
        let padded = config.head_dim.next_multiple_of(sterna_kernels::portable::LANES);
        config.layers * 2 * config.kv_heads * padded * size_of::<u16>()
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
                self.pages.push(vec![0; self.layout.page_values()].into_boxed_slice());
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
        for (row, (sequence, position)) in batch.sequences.iter().zip(&batch.positions).enumerate() {
            let pages = self.sequences[sequence.0].as_ref().expect("the sequence is in the cache");
            let page = &mut self.pages[pages[position / PAGE]];
            attention::store(cpu, &self.layout, page, layer, position % PAGE, k.row(row), v.row(row));
        }
    }

    /// Attention of every row of a batch against its own sequence: rotated queries in, heads side by side out.
    pub fn attend(&self, cpu: &Cpu, layer: usize, batch: &Batch, q: &Rows) -> Rows {
        let pages: Vec<Vec<&[u16]>> = self
            .sequences
            .iter()
            .map(|pages| pages.iter().flatten().map(|&page| &*self.pages[page]).collect())
            .collect();
        let rows = batch.sequences.iter().zip(&batch.positions);
        let queries: Vec<_> = rows.map(|(sequence, &position)| Query { pages: &pages[sequence.0], position }).collect();
        attention::attend(cpu, &self.layout, layer, &queries, q)
    }
}
