//! Causal attention over a paged f16 cache.
//!
//! A page holds `page_len` positions of every layer and key/value head:
//!
//! ```text
//! page = [layer][k | v][kv head][slot][padded dim]   u16 halves, head_dim padded with zeros to a multiple of 16
//! ```
//!
//! For one token and one kv head: scores over all positions, their maximum, exp, sum (16 lanes, one tree), then the
//! values added in the order of positions. Nothing depends on how the prompt was cut or what else is in the batch.

use crate::math::exp;
use crate::portable::{LANES, fold};
use crate::rows::Rows;
use crate::set::Cpu;
use crate::vector::Vector;

/// Where one sequence's cache lies and how to read it.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Transformer layers.
    pub layers: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Values in a head.
    pub head_dim: usize,
    /// Positions in a page.
    pub page_len: usize,
}

impl Layout {
    /// Head size as stored: a multiple of 16.
    pub fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// `u16` values in a page.
    pub fn page_values(&self) -> usize {
        self.layers * 2 * self.kv_heads * self.page_len * self.padded_dim()
    }

    /// Where the keys of (layer, kv head) start in a page.
    fn keys(&self, layer: usize, head: usize) -> usize {
        (layer * 2 * self.kv_heads + head) * self.page_len * self.padded_dim()
    }

    /// Where the values of (layer, kv head) start in a page.
    fn values(&self, layer: usize, head: usize) -> usize {
        self.keys(layer, head + self.kv_heads)
    }
}

/// Stores the keys and values (`kv_heads · head_dim` each) of one position of one layer in its page.
pub fn store(cpu: &Cpu, layout: &Layout, page: &mut [u16], layer: usize, slot: usize, k: &[f32], v: &[f32]) {
    let (dim, padded) = (layout.head_dim, layout.padded_dim());
    for head in 0..layout.kv_heads {
        for (source, start) in [(k, layout.keys(layer, head)), (v, layout.values(layer, head))] {
            let target = &mut page[start + slot * padded..][..dim];
            cpu.set.to_f16(&source[head * dim..(head + 1) * dim], target);
        }
    }
}

/// One row of a batch: a token at `position` of the sequence whose pages are `pages`.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Pages of the sequence, in order.
    pub pages: &'a [&'a [u16]],
    /// Position of the token; it attends to 0 ..= position.
    pub position: usize,
}

/// Attention of every row of `q` (`heads · head_dim` values, rotated) against its own sequence; same shape out.
pub fn attend(cpu: &Cpu, layout: &Layout, layer: usize, queries: &[Query<'_>], q: &Rows) -> Rows {
    assert_eq!(q.len(), queries.len(), "one query position a row");
    let (dim, padded) = (layout.head_dim, layout.padded_dim());
    let group = q.dim() / dim / layout.kv_heads;
    assert_eq!(group * layout.kv_heads * dim, q.dim(), "query heads divide by key/value heads");
    let mut out = Rows::unwritten(q.len(), q.dim());
    cpu.pool.pieces(out.data_mut(), group * dim, |task, out| {
        let (row, head) = (task / layout.kv_heads, task % layout.kv_heads);
        let Query { pages, position } = queries[row];
        assert!(position < pages.len() * layout.page_len, "the position has a page");
        let span = Span {
            pages,
            keys: layout.keys(layer, head),
            values: layout.values(layer, head),
            page_len: layout.page_len,
            positions: position + 1,
            head_dim: dim,
            scale: 1.0 / (dim as f32).sqrt(),
        };
        let query = &q.row(row)[head * group * dim..][..group * dim];
        let mut padded_q = vec![0.0; group * padded];
        for (to, from) in padded_q.chunks_exact_mut(padded).zip(query.chunks_exact(dim)) {
            to[..dim].copy_from_slice(from);
        }
        let mut scores = vec![0.0; group * span.scores_len()];
        let mut padded_out = vec![0.0; group * padded];
        cpu.set.attend(&span, &padded_q, &mut scores, &mut padded_out);
        for (to, from) in out.chunks_exact_mut(dim).zip(padded_out.chunks_exact(padded)) {
            to.copy_from_slice(&from[..dim]);
        }
    });
    out
}

/// Keys and values of one (sequence, layer, kv head) up to one position.
pub(crate) struct Span<'a> {
    pages: &'a [&'a [u16]],
    keys: usize,
    values: usize,
    page_len: usize,
    positions: usize,
    head_dim: usize,
    scale: f32,
}

impl Span<'_> {
    #[inline(always)]
    pub(crate) fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Scores of one head, padded so that the softmax runs in whole lanes.
    #[inline(always)]
    pub(crate) fn scores_len(&self) -> usize {
        self.positions.next_multiple_of(LANES)
    }

    /// The stored rows from `start` in each page, in the order of positions.
    #[inline(always)]
    fn rows(&self, start: usize) -> impl Iterator<Item = &[u16]> {
        let (len, dim) = (self.page_len, self.padded_dim());
        self.pages.iter().flat_map(move |page| page[start..start + len * dim].chunks_exact(dim)).take(self.positions)
    }
}

/// `H` query heads at once; `q` and `out` are `H · padded_dim`, `scores` `H · scores_len`.
#[inline(always)]
pub(crate) fn heads<V: Vector, const H: usize>(span: &Span<'_>, q: &[f32], scores: &mut [f32], out: &mut [f32]) {
    let (dim, len) = (span.padded_dim(), span.scores_len());
    for (position, key) in span.rows(span.keys).enumerate() {
        let mut acc = [V::splat(0.0); H];
        let mut at = 0;
        while at < dim {
            let key = V::load_u16(&key[at..]);
            for h in 0..H {
                acc[h] = acc[h].add_product(V::load(&q[h * dim + at..]), key);
            }
            at += LANES;
        }
        for h in 0..H {
            scores[h * len + position] = fold(acc[h].lanes()) * span.scale;
        }
    }
    let mut inverse = [0.0; H];
    for h in 0..H {
        inverse[h] = 1.0 / softmax_terms(&mut scores[h * len..(h + 1) * len], span.positions);
    }
    // Four blocks of 16 at a time stay in registers while the positions go by.
    let mut at = 0;
    while at < dim {
        if dim - at >= 4 * LANES {
            weigh::<V, H, 4>(span, scores, &inverse, at, out);
            at += 4 * LANES;
        } else {
            weigh::<V, H, 1>(span, scores, &inverse, at, out);
            at += LANES;
        }
    }
}

/// Replaces scores by exp(score − max) and returns their sum; the padding becomes 0.
#[inline(always)]
fn softmax_terms(scores: &mut [f32], positions: usize) -> f32 {
    scores[positions..].fill(f32::NEG_INFINITY);
    let mut max = [f32::NEG_INFINITY; LANES];
    for block in scores.chunks_exact(LANES) {
        for i in 0..LANES {
            max[i] = if block[i] > max[i] { block[i] } else { max[i] };
        }
    }
    let max = max.into_iter().fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    let mut sum = [0.0; LANES];
    for score in scores.iter_mut() {
        *score = exp(*score - max);
    }
    scores[positions..].fill(0.0);
    for block in scores.chunks_exact(LANES) {
        for i in 0..LANES {
            sum[i] += block[i];
        }
    }
    fold(sum)
}

/// `out[h][at ..] = Σ score · value / sum` for `B` blocks of 16.
#[inline(always)]
fn weigh<V: Vector, const H: usize, const B: usize>(
    span: &Span<'_>,
    scores: &[f32],
    inverse: &[f32; H],
    at: usize,
    out: &mut [f32],
) {
    let (dim, len) = (span.padded_dim(), span.scores_len());
    let mut acc = [[V::splat(0.0); B]; H];
    for (position, value) in span.rows(span.values).enumerate() {
        let mut blocks = [V::splat(0.0); B];
        for b in 0..B {
            blocks[b] = V::load_u16(&value[at + b * LANES..]);
        }
        for h in 0..H {
            let score = V::splat(scores[h * len + position]);
            for b in 0..B {
                acc[h][b] = acc[h][b].add_product(score, blocks[b]);
            }
        }
    }
    for h in 0..H {
        for b in 0..B {
            for (i, sum) in acc[h][b].lanes().into_iter().enumerate() {
                out[h * dim + at + b * LANES + i] = sum * inverse[h];
            }
        }
    }
}
