//! Causal attention over a paged cache of keys and values.
//!
//! A page holds [`PAGE`] positions of every layer and key/value head, in cache lines of 64 bytes; head_dim is padded
//! to a multiple of 16. Keys lie so that a lane is a position, values so that a lane is a dimension: no sum runs
//! across lanes.
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
//! One query's written order: positions go in segments of `SEGMENT`, counted from 0. A segment gives its largest
//! score, Σ exp(score − largest) and Σ exp(score − largest) · value; segments are merged one after another, first to
//! last. So the result depends neither on how the prompt was cut, nor on what else is in the batch, nor on which
//! thread took which segment. Positions beyond a query's own get the weight 0, and adding 0 to a sum that began at +0
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

/// Queries (tokens · heads of a group) that one task takes through the cache together, about.
const TILE: usize = 32;

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KvType {
    /// Halves, rounded half to even.
    #[default]
    F16,
    /// int8 with a scale for every position and head; scores and weighted sums are exact integer dots.
    Int8,
}

impl KvType {
    /// "f16" or "int8".
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

/// What a page holds.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// How keys and values are kept.
    pub kind: KvType,
    /// Transformer layers.
    pub layers: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
}

impl Layout {
    /// Head size as stored: a multiple of 16.
    fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Bytes of one position: keys and values (and their scales) of all layers and heads.
    pub fn position_bytes(&self) -> usize {
        let head = match self.kind {
            KvType::F16 => 2 * self.padded_dim() * size_of::<u16>(),
            KvType::Int8 => 2 * (self.padded_dim() + size_of::<f32>()),
        };
        self.layers * self.kv_heads * head
    }

    /// Bytes of the keys, and again of the values, of one head in a page.
    fn side_bytes(&self) -> usize {
        let size = if self.kind == KvType::F16 { size_of::<u16>() } else { 1 };
        PAGE * self.padded_dim() * size
    }

    /// Where (layer, kv head) lies in a page, in bytes.
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

/// Stores the keys and values (`kv_heads · head_dim` each) of one position of one layer in its page.
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

/// Attention of every row of `q` (`heads · head_dim` values, rotated) against its own sequence; same shape out.
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
    // Too few tasks to go round: each is cut into runs of segments, and the merge comes after.
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

/// Neighbouring rows of one sequence, at most `most` together.
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

/// One call of [`attend`]. Task i is (tile i / kv_heads, kv head i % kv_heads).
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
    /// Values that a query's segment takes: Σ exp · value (padded), then the largest score and Σ exp.
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

/// The queries of a tile, divided by √head_dim, as its cache wants them.
enum Prepared {
    F32(Vec<f32>),
    Int8(int8::Queries),
}

/// The query heads of one kv head, for neighbouring tokens: query i is head i % group of token i / group.
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

    /// Positions of the query that sees the most.
    fn positions(&self) -> usize {
        self.work.queries[self.rows.clone()].iter().map(|query| query.position + 1).max().unwrap_or(0)
    }

    fn segments(&self) -> usize {
        self.positions().div_ceil(SEGMENT)
    }

    /// Largest score, sum and weighted values of segment `index`: [`Work::stride`] values a query.
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

    /// Divides by the sums and writes the tile's heads.
    fn finish(&self, state: &[f32], out: SendPtr<f32>) {
        let (dim, padded, group) = (self.work.layout.head_dim, self.work.layout.padded_dim(), self.work.group);
        for (i, state) in state.chunks_exact(self.work.stride()).take(self.queries).enumerate() {
            let at = (self.rows.start + i / group) * self.work.q.dim() + (self.head * group + i % group) * dim;
            // SAFETY: the place of this row and head in the output, which has the shape of `q`; one tile holds the
            // row, and one task the head.
            let out = unsafe { std::slice::from_raw_parts_mut(out.get().add(at), dim) };
            let inverse = 1.0 / state[padded + 1];
            for (out, sum) in out.iter_mut().zip(state) {
                *out = sum * inverse;
            }
        }
    }
}
