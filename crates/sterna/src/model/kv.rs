//! Keys and values of a network's attention layers, in pages.

use std::iter::repeat_n;

use sterna_kernels::attention::{self, Page, Query};
pub use sterna_kernels::attention::{KvHeads, KvType, Layout, Mask, PAGE};
use sterna_kernels::{Cpu, Rows};

use super::Batch;
use crate::checkpoint::Config;

/// Storage of keys and values by page number. Each [`Batch`] says which pages belong to which sequence.
pub struct KvCache {
    layout: Layout,
    pages: Vec<Page>,
}

/// The layout for a decoder whose layers with attention are all alike.
pub(super) fn uniform(config: &Config, kind: KvType) -> Layout {
    Layout::new(kind, repeat_n(KvHeads { count: config.kv_heads, dim: config.head_dim }, config.attention_layers()))
}

impl KvCache {
    /// An empty cache. The memory of a page is allocated when a batch first writes it.
    pub fn new(layout: Layout) -> Self {
        Self { layout, pages: Vec::new() }
    }

    /// Bytes per position for a network with this configuration: keys and values of all layers, and their scales.
    pub fn bytes_per_position(config: &Config, kind: KvType) -> usize {
        uniform(config, kind).position_bytes()
    }

    /// Bytes per position.
    pub fn position_bytes(&self) -> usize {
        self.layout.position_bytes()
    }

    /// Stores the keys and values of a batch in one layer.
    ///
    /// # Panics
    /// If there is no such layer, or if `k` and `v` are not rows of its heads.
    pub fn store(&mut self, cpu: &Cpu, layer: usize, batch: &Batch, k: &Rows, v: &Rows) {
        let Some(last) = batch.writes().last() else { return };
        while self.pages.len() <= last.page {
            self.pages.push(Page::new(&self.layout));
        }
        // The pages that the batch writes are divided among the threads, each with its rows.
        let (mut rest, mut first) = (&mut self.pages[..], 0);
        let mut work = Vec::with_capacity(batch.writes().len());
        for write in batch.writes() {
            let (_, from) = std::mem::take(&mut rest).split_at_mut(write.page - first);
            let (page, behind) = from.split_first_mut().expect("the page is there");
            (rest, first) = (behind, write.page + 1);
            work.push((page, write.rows.clone()));
        }
        let layout = &self.layout;
        cpu.pool().pieces(&mut work, 1, |_, work| {
            for (page, rows) in work {
                for row in rows.clone() {
                    attention::store(cpu, layout, page, layer, batch.positions[row] % PAGE, k.row(row), v.row(row));
                }
            }
        });
    }

    /// Computes attention of every row of a batch to its own sequence. Input: rotated queries. Output: the concatenated
    /// heads.
    ///
    /// With [`Mask::Full`], every row attends to the whole sequence up to the last row of its run.
    ///
    /// # Panics
    /// If there is no such layer, or if the heads of `q` do not divide by its key/value heads.
    pub fn attend(&self, cpu: &Cpu, layer: usize, mask: Mask, batch: &Batch, q: &Rows) -> Rows {
        let mut queries = Vec::with_capacity(batch.tokens.len());
        for run in batch.runs() {
            let pages = batch.pages(run);
            let positions = &batch.positions[run.rows.clone()];
            let end = positions.last().map_or(0, |last| last + 1);
            queries.extend(positions.iter().map(|&position| Query { pages, seen: mask.seen(position, end) }));
        }
        attention::attend(cpu, &self.layout, layer, &self.pages, &queries, q)
    }
}
