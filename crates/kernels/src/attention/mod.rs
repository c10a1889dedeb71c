//! Attention over a paged cache of keys and values.
//!
//! A page holds [`PAGE`] positions of every layer and key/value head, in cache lines of 64 bytes; head_dim is padded to
//! a multiple of 16. Layers may have different heads, or none. In keys a lane is a position, and in values a lane is a
//! dimension, so no sum crosses lanes.
//!
//! ```text
//! page      = [layer][kv head][keys | values | scales]
//! f16  keys   [tile of 16 positions][dim][16 positions]          halves; f32: floats
//!      values [position][dim]                                    halves; f32: floats
//! int8 keys   [tile of 16 positions][dim / 4][16 positions][4]   code + bias of the set
//!      values [dim / 16][position / 4][16 dims][4 positions]     code + bias of the set
//!      scales [keys, values][position]                           f32
//! ```
//!
//! The order of sums is fixed for each query. Positions are grouped into segments of `SEGMENT`, counted from 0. A
//! segment gives its largest score, Σ exp(score − largest) and Σ exp(score − largest) · value over the positions that
//! the query attends to (see [`Mask`]); segments that hold any are merged in order. So the result does not depend on
//! the chunks of the prompt, on the rest of the batch, or on which thread computes which segment.
//!
//! ```text
//! window   ░░░░░░░░░░░░░░░░│░░░░░░░░░░██████│████████████████│██████q
//!          not merged       weight 0  seen
//! ```
//!
//! Within a segment, positions that a query does not attend to get the weight 0, and adding 0 to a sum that started at
//! +0 never changes it. So pages that no query of a task attends to are not read.

pub mod backward;
mod floats;
mod int8;
mod layout;
mod mask;

use std::ops::Range;

use crate::cpu::Cpu;
pub use crate::op::attention::{PAGE, Page};
use crate::op::attention::{SEGMENT, Segment};
use crate::op::vector::LANES;
use crate::pool::SendPtr;
use crate::rows::Rows;
use crate::set::Isa;
pub use layout::{KvHeads, KvType, Layout, store};
pub use mask::{Mask, Query};

/// Approximate number of queries (tokens · heads of a group) that one task computes together.
const TILE: usize = 32;

/// Attention of every row of `q` (`heads · head_dim` rotated values) to its own sequence. The result has the shape of
/// `q`.
///
/// # Panics
/// If there is not one query for each row, if the layer has no key/value heads or those of `q` do not divide by them,
/// or if a query attends to no position, or to one without a page.
pub fn attend(cpu: &Cpu, layout: &Layout, layer: usize, pages: &[Page], queries: &[Query<'_>], q: &Rows) -> Rows {
    assert_eq!(q.len(), queries.len(), "one query a row");
    let heads = layout.heads(layer);
    assert!(heads.count * heads.dim > 0, "the layer keeps keys and values");
    let group = q.dim() / heads.dim / heads.count;
    assert_eq!(group * heads.count * heads.dim, q.dim(), "query heads divide by key/value heads");
    for query in queries {
        assert!(!query.seen.is_empty() && query.seen.end <= query.pages.len() * PAGE, "every position has a page");
    }
    let work = Work { layout, heads, layer, pages, queries, q, group, tiles: tiles(queries, (TILE / group).max(1)) };
    let mut out = Rows::unwritten(q.len(), q.dim());
    let out_at = SendPtr(out.data_mut().as_mut_ptr());
    let tasks = work.tiles.len() * heads.count;
    let segments = work.tiles.iter().map(|rows| work.segments(rows).len()).max().unwrap_or(0);
    if segments == 1 || tasks >= 4 * cpu.pool.threads() || cpu.pool.threads() == 1 {
        cpu.pool.run(tasks, |task| {
            let tile = work.tile(cpu.isa, task);
            let (mut state, mut partial) = (tile.unwritten(), tile.unwritten());
            let mut segments = work.segments(&tile.rows);
            tile.segment(cpu.isa, segments.start, &mut state);
            segments.start += 1;
            for segment in segments {
                tile.segment(cpu.isa, segment, &mut partial);
                tile.merge(cpu.isa, segment, &mut state, &partial);
            }
            tile.finish(&state, out_at);
        });
        return out;
    }
    // If there are fewer tasks than threads, each is divided into runs of segments, which are merged afterwards.
    let size = work.tiles.iter().map(|tile| tile.len() * group * work.stride()).max().unwrap_or(0);
    let run = segments.div_ceil((4 * cpu.pool.threads()).div_ceil(tasks));
    let runs = segments.div_ceil(run);
    let mut partials = vec![0.0; tasks * runs * run * size];
    cpu.pool.pieces(&mut partials, run * size, |i, out| {
        let tile = work.tile(cpu.isa, i / runs);
        let segments = work.segments(&tile.rows);
        for (segment, out) in segments.skip(i % runs * run).zip(out.chunks_exact_mut(size)) {
            tile.segment(cpu.isa, segment, &mut out[..tile.queries * work.stride()]);
        }
    });
    cpu.pool.pieces(&mut partials, runs * run * size, |task, partials| {
        let tile = work.tile(cpu.isa, task);
        let (state, rest) = partials.split_at_mut(size);
        for (segment, partial) in work.segments(&tile.rows).skip(1).zip(rest.chunks_exact(size)) {
            tile.merge(cpu.isa, segment, state, partial);
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

/// The segments in which these positions lie.
fn segments_of(seen: &Range<usize>) -> Range<usize> {
    seen.start / SEGMENT..seen.end.div_ceil(SEGMENT)
}

/// One call of [`attend`]. Task i computes (tile i / kv heads, key/value head i % kv heads).
struct Work<'a> {
    layout: &'a Layout,
    heads: KvHeads,
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
        self.heads.padded_dim() + LANES
    }

    /// Positions from the first to the last that any of these rows attends to.
    fn seen(&self, rows: &Range<usize>) -> Range<usize> {
        let all = self.queries[rows.clone()].iter().map(|query| query.seen.clone());
        all.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0)
    }

    /// The segments of these positions.
    fn segments(&self, rows: &Range<usize>) -> Range<usize> {
        segments_of(&self.seen(rows))
    }

    fn tile(&'a self, isa: Isa, task: usize) -> Tile<'a> {
        let (rows, head) = (self.tiles[task / self.heads.count].clone(), task % self.heads.count);
        let (dim, padded) = (self.heads.dim, self.heads.padded_dim());
        let queries = rows.len() * self.group;
        let scale = 1.0 / (dim as f32).sqrt();
        let mut q = vec![0.0; queries * padded];
        for (i, q) in q.chunks_exact_mut(padded).enumerate() {
            let row = &self.q.row(rows.start + i / self.group)[(head * self.group + i % self.group) * dim..][..dim];
            for (q, x) in q.iter_mut().zip(row) {
                *q = x * scale;
            }
        }
        let q = match self.layout.kind() {
            KvType::F16 => Prepared::Halves(q),
            KvType::F32 => Prepared::Floats(q),
            KvType::Int8 => Prepared::Int8(int8::Queries::new(isa, &q, padded)),
        };
        Tile { work: self, seen: self.seen(&rows), rows, head, queries, q }
    }
}

/// The queries of a tile, divided by √head_dim, in the number type of the cache.
enum Prepared {
    /// For a cache of f16.
    Halves(Vec<f32>),
    /// For a cache of f32.
    Floats(Vec<f32>),
    Int8(int8::Queries),
}

/// The query heads of one key/value head, for adjacent tokens: query i is head i % group of token i / group.
struct Tile<'a> {
    work: &'a Work<'a>,
    rows: Range<usize>,
    /// Positions from the first to the last that any of its queries attends to.
    seen: Range<usize>,
    head: usize,
    queries: usize,
    q: Prepared,
}

impl Tile<'_> {
    fn unwritten(&self) -> Vec<f32> {
        vec![0.0; self.queries * self.work.stride()]
    }

    /// The positions that query `i` attends to.
    fn seen_by(&self, i: usize) -> &Range<usize> {
        &self.work.queries[self.rows.start + i / self.work.group].seen
    }

    /// Computes the largest score, the sum and the weighted values of segment `index`: [`Work::stride`] values per
    /// query. They mean nothing for a query that does not attend to the segment.
    fn segment(&self, isa: Isa, index: usize, out: &mut [f32]) {
        let start = (index * SEGMENT).max(self.seen.start / PAGE * PAGE);
        let end = self.seen.end.min((index + 1) * SEGMENT).div_ceil(PAGE);
        let pages = self.work.queries[self.rows.start].pages;
        let seen = |i: usize| {
            let seen = self.seen_by(i);
            let within = |position: usize| position.clamp(start, end * PAGE) - start;
            within(seen.start)..within(seen.end)
        };
        let segment = Segment {
            padded_dim: self.work.heads.padded_dim(),
            side: self.work.layout.side_bytes(self.work.heads),
            head: self.work.layout.head(self.work.layer, self.head),
            pages: self.work.pages,
            numbers: &pages[start / PAGE..end],
            after: &pages[end..self.seen.end.div_ceil(PAGE)],
            seen: (0..self.queries).map(seen).collect(),
        };
        match &self.q {
            Prepared::Halves(q) => isa.attend_halves(&segment, q, out),
            Prepared::Floats(q) => isa.attend_floats(&segment, q, out),
            Prepared::Int8(q) => int8::attend(isa, &segment, q, out),
        }
    }

    /// Merges segment `index` into the state of the queries that attend to it.
    fn merge(&self, isa: Isa, index: usize, state: &mut [f32], partial: &[f32]) {
        let stride = self.work.stride();
        let queries = state.chunks_exact_mut(stride).zip(partial.chunks_exact(stride)).take(self.queries);
        for (i, (state, partial)) in queries.enumerate() {
            let segments = segments_of(self.seen_by(i));
            if index == segments.start {
                state.copy_from_slice(partial);
            } else if segments.contains(&index) {
                isa.merge_segments(state, partial);
            }
        }
    }

    /// Divides by the sums, and writes the tile's heads.
    fn finish(&self, state: &[f32], out: SendPtr<f32>) {
        let (dim, padded, group) = (self.work.heads.dim, self.work.heads.padded_dim(), self.work.group);
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
