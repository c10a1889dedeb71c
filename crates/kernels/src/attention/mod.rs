//! Causal attention over a paged cache of keys and values.
//!
//! A page holds [`PAGE`] positions of every layer and key/value head, in cache lines of 64 bytes; head_dim is padded to
//! a multiple of 16. In keys a lane is a position, and in values a lane is a dimension, so no sum crosses lanes.
//!
//! ```text
//! page      = [layer][kv head][keys | values | scales]
//! f16  keys   [tile of 16 positions][dim][16 positions]          u16 halves
//!      values [position][dim]                                    u16 halves
//! int8 keys   [tile of 16 positions][dim / 4][16 positions][4]   code + bias of the set
//!      values [dim / 16][position / 4][16 dims][4 positions]     code + bias of the set
//!      scales [keys, values][position]                           f32
//! ```
//!
//! The order of sums is fixed for each query. Positions are grouped into segments of `SEGMENT`, counted from 0. A
//! segment gives its largest score, Σ exp(score − largest) and Σ exp(score − largest) · value; segments are merged in
//! order. So the result does not depend on the chunks of the prompt, on the rest of the batch, or on which thread
//! computes which segment. Positions after a query's own get the weight 0, and adding 0 to a sum that started at +0
//! never changes it.

pub mod backward;
mod halves;
mod int8;

use std::ops::Range;

use crate::cpu::Cpu;
use crate::lines::{LINE, Lines};
pub use crate::op::attention::{PAGE, Page};
use crate::op::attention::{SEGMENT, Segment};
use crate::op::vector::LANES;
use crate::pool::SendPtr;
use crate::rows::Rows;
use crate::set::Isa;

/// Approximate number of queries (tokens · heads of a group) that one task computes together.
const TILE: usize = 32;

/// Number type of the key/value cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// f16, rounded half to even.
    #[default]
    F16,
    /// int8 with one scale per position and head. Scores and weighted sums are exact integer dot products.
    Int8,
}

impl KvType {
    /// The name: "f16" or "int8".
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

/// The layout of a page.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Number type of keys and values.
    pub kind: KvType,
    /// Transformer layers.
    pub layers: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
}

impl Layout {
    /// Head size as stored: a multiple of 16.
    fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Bytes per position: keys, values and their scales, of all layers and heads.
    pub fn position_bytes(&self) -> usize {
        let head = match self.kind {
            KvType::F16 => 2 * self.padded_dim() * size_of::<u16>(),
            KvType::Int8 => 2 * (self.padded_dim() + size_of::<f32>()),
        };
        self.layers * self.kv_heads * head
    }

    /// Bytes of one head's keys in a page; its values take as many.
    fn side_bytes(&self) -> usize {
        let size = if self.kind == KvType::F16 { size_of::<u16>() } else { 1 };
        PAGE * self.padded_dim() * size
    }

    /// The byte range of (layer, key/value head) in a page.
    fn head(&self, layer: usize, head: usize) -> Range<usize> {
        let bytes = self.position_bytes() * PAGE / (self.layers * self.kv_heads);
        let start = (layer * self.kv_heads + head) * bytes;
        start..start + bytes
    }
}

impl Page {
    /// An empty page.
    pub fn new(layout: &Layout) -> Self {
        Self(Lines::zeroed((layout.position_bytes() * PAGE).div_ceil(LINE)))
    }
}

/// Stores the keys and values (`kv_heads · head_dim` each) of one position and layer in its page.
///
/// # Panics
/// If `slot` is not below [`PAGE`].
pub fn store(cpu: &Cpu, layout: &Layout, page: &mut Page, layer: usize, slot: usize, k: &[f32], v: &[f32]) {
    assert!(slot < PAGE, "a page has {PAGE} positions");
    let dim = layout.head_dim;
    for head in 0..layout.kv_heads {
        let bytes = &mut page.0.bytes_mut()[layout.head(layer, head)];
        let (k, v) = (&k[head * dim..][..dim], &v[head * dim..][..dim]);
        match layout.kind {
            KvType::F16 => halves::store(cpu.isa, layout.padded_dim(), bytes, slot, k, v),
            KvType::Int8 => int8::store(cpu.isa, layout.padded_dim(), bytes, slot, k, v),
        }
    }
}

/// One row of a batch: a token at `position` of the sequence whose pages are `pages`.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Numbers of the sequence's pages, in order.
    pub pages: &'a [usize],
    /// Position of the token; it attends to 0 ..= position.
    pub position: usize,
}

/// Attention of every row of `q` (`heads · head_dim` rotated values) to its own sequence. The result has the shape of
/// `q`.
///
/// # Panics
/// If there is not one query for each row, if the heads do not divide by the key/value heads, or if a position has no
/// page.
pub fn attend(cpu: &Cpu, layout: &Layout, layer: usize, pages: &[Page], queries: &[Query<'_>], q: &Rows) -> Rows {
    assert_eq!(q.len(), queries.len(), "one query position a row");
    let group = q.dim() / layout.head_dim / layout.kv_heads;
    assert_eq!(group * layout.kv_heads * layout.head_dim, q.dim(), "query heads divide by key/value heads");
    for query in queries {
        assert!(query.position < query.pages.len() * PAGE, "the position has a page");
    }
    let work = Work { layout, layer, pages, queries, q, group, tiles: tiles(queries, (TILE / group).max(1)) };
    let mut out = Rows::unwritten(q.len(), q.dim());
    let out_at = SendPtr(out.data_mut().as_mut_ptr());
    let tasks = work.tiles.len() * layout.kv_heads;
    let segments = queries.iter().map(|query| query.position / SEGMENT + 1).max().unwrap_or(0);
    if segments == 1 || tasks >= 4 * cpu.pool.threads() || cpu.pool.threads() == 1 {
        cpu.pool.run(tasks, |task| {
            let tile = work.tile(cpu.isa, task);
            let (mut state, mut partial) = (tile.unwritten(), tile.unwritten());
            tile.segment(cpu.isa, 0, &mut state);
            for segment in 1..tile.segments() {
                tile.segment(cpu.isa, segment, &mut partial);
                tile.merge(cpu.isa, &mut state, &partial);
            }
            tile.finish(&state, out_at);
        });
        return out;
    }
    // With too few tasks for the threads, each is divided into runs of segments, which are merged afterwards.
    let size = work.tiles.iter().map(|tile| tile.len() * group * work.stride()).max().unwrap_or(0);
    let run = segments.div_ceil((4 * cpu.pool.threads()).div_ceil(tasks));
    let runs = segments.div_ceil(run);
    let mut partials = vec![0.0; tasks * runs * run * size];
    cpu.pool.pieces(&mut partials, run * size, |i, out| {
        let tile = work.tile(cpu.isa, i / runs);
        for (segment, out) in (i % runs * run..tile.segments()).zip(out.chunks_exact_mut(size)) {
            tile.segment(cpu.isa, segment, &mut out[..tile.queries * work.stride()]);
        }
    });
    cpu.pool.pieces(&mut partials, runs * run * size, |task, partials| {
        let tile = work.tile(cpu.isa, task);
        let (state, rest) = partials.split_at_mut(size);
        for partial in rest.chunks_exact(size).take(tile.segments() - 1) {
            tile.merge(cpu.isa, state, partial);
        }
        tile.finish(state, out_at);
    });
    out
}

/// Groups of adjacent rows of one sequence, at most `most` rows each.
fn tiles(queries: &[Query<'_>], most: usize) -> Vec<Range<usize>> {
    let mut tiles: Vec<Range<usize>> = Vec::new();
    for (row, query) in queries.iter().enumerate() {
        match tiles.last_mut() {
            Some(tile) if tile.len() < most && std::ptr::eq(queries[tile.start].pages, query.pages) => tile.end += 1,
            _ => tiles.push(row..row + 1),
        }
    }
    tiles
}

/// One call of [`attend`]. Task i computes (tile i / kv_heads, key/value head i % kv_heads).
struct Work<'a> {
    layout: &'a Layout,
    layer: usize,
    pages: &'a [Page],
    queries: &'a [Query<'a>],
    q: &'a Rows,
    group: usize,
    tiles: Vec<Range<usize>>,
}

impl<'a> Work<'a> {
    /// Number of values for one query and segment: Σ exp · value (padded), the largest score and Σ exp.
    fn stride(&self) -> usize {
        self.layout.padded_dim() + LANES
    }

    fn tile(&'a self, isa: Isa, task: usize) -> Tile<'a> {
        let (rows, head) = (self.tiles[task / self.layout.kv_heads].clone(), task % self.layout.kv_heads);
        let (dim, padded) = (self.layout.head_dim, self.layout.padded_dim());
        let queries = rows.len() * self.group;
        let scale = 1.0 / (dim as f32).sqrt();
        let mut q = vec![0.0; queries * padded];
        for (i, q) in q.chunks_exact_mut(padded).enumerate() {
            let row = &self.q.row(rows.start + i / self.group)[(head * self.group + i % self.group) * dim..][..dim];
            for (q, x) in q.iter_mut().zip(row) {
                *q = x * scale;
            }
        }
        let q = match self.layout.kind {
            KvType::F16 => Prepared::F32(q),
            KvType::Int8 => Prepared::Int8(int8::Queries::new(isa, &q, padded)),
        };
        Tile { work: self, rows, head, queries, q }
    }
}

/// The queries of a tile, divided by √head_dim, in the number type of the cache.
enum Prepared {
    F32(Vec<f32>),
    Int8(int8::Queries),
}

/// The query heads of one key/value head, for adjacent tokens: query i is head i % group of token i / group.
struct Tile<'a> {
    work: &'a Work<'a>,
    rows: Range<usize>,
    head: usize,
    queries: usize,
    q: Prepared,
}

impl Tile<'_> {
    fn unwritten(&self) -> Vec<f32> {
        vec![0.0; self.queries * self.work.stride()]
    }

    /// Number of positions that the last query attends to.
    fn positions(&self) -> usize {
        self.work.queries[self.rows.clone()].iter().map(|query| query.position + 1).max().unwrap_or(0)
    }

    fn segments(&self) -> usize {
        self.positions().div_ceil(SEGMENT)
    }

    /// Computes the largest score, the sum and the weighted values of segment `index`: [`Work::stride`] values per
    /// query.
    fn segment(&self, isa: Isa, index: usize, out: &mut [f32]) {
        let start = index * SEGMENT;
        let end = self.positions().min(start + SEGMENT).div_ceil(PAGE);
        let pages = self.work.queries[self.rows.start].pages;
        let seen = |i: usize| {
            let position = self.work.queries[self.rows.start + i / self.work.group].position;
            (position + 1).saturating_sub(start).min(SEGMENT)
        };
        let segment = Segment {
            padded_dim: self.work.layout.padded_dim(),
            side: self.work.layout.side_bytes(),
            head: self.work.layout.head(self.work.layer, self.head),
            pages: self.work.pages,
            numbers: &pages[start / PAGE..end],
            after: &pages[end..self.positions().div_ceil(PAGE)],
            seen: (0..self.queries).map(seen).collect(),
        };
        match &self.q {
            Prepared::F32(q) => isa.attend_halves(&segment, q, out),
            Prepared::Int8(q) => int8::attend(isa, &segment, q, out),
        }
    }

    fn merge(&self, isa: Isa, state: &mut [f32], partial: &[f32]) {
        let stride = self.work.stride();
        for (state, partial) in state.chunks_exact_mut(stride).zip(partial.chunks_exact(stride)).take(self.queries) {
            isa.merge_segments(state, partial);
        }
    }

    /// Divides by the sums, and writes the tile's heads.
    fn finish(&self, state: &[f32], out: SendPtr<f32>) {
        let (dim, padded, group) = (self.work.layout.head_dim, self.work.layout.padded_dim(), self.work.group);
        for (i, state) in state.chunks_exact(self.work.stride()).take(self.queries).enumerate() {
            let at = (self.rows.start + i / group) * self.work.q.dim() + (self.head * group + i % group) * dim;
            // SAFETY: `at` is the place of this row and head in the output, which has the shape of `q`. Each row
            // belongs to one tile, and each head of a tile to one task.
            let out = unsafe { std::slice::from_raw_parts_mut(out.get().add(at), dim) };
            let inverse = 1.0 / state[padded + 1];
            for (out, sum) in out.iter_mut().zip(state) {
                *out = sum * inverse;
            }
        }
    }
}
