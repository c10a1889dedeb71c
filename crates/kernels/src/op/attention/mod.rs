//! Attention of the queries of one key/value head to one segment of the cache.
//!
//! [`mod@crate::attention`] describes the layout of a page and how segments are merged.

pub(crate) mod floats;
pub(crate) mod int8;

use std::ops::Range;

use super::math::exp;
use super::vector::LANES;
use crate::lines::Lines;

/// Positions in a page.
pub const PAGE: usize = 32;

/// Positions in one segment of the softmax, a multiple of [`PAGE`]. The keys and values of a segment fit the
/// second-level cache.
pub(crate) const SEGMENT: usize = 256;

/// Memory for [`PAGE`] positions.
pub struct Page(pub(crate) Lines);

/// Up to [`SEGMENT`] positions of one (sequence, layer, key/value head), in whole pages.
pub(crate) struct Segment<'a> {
    pub padded_dim: usize,
    /// Bytes of a page's keys; its values take as many.
    pub side: usize,
    pub head: Range<usize>,
    pub pages: &'a [Page],
    pub numbers: &'a [usize],
    /// Pages after those of the segment.
    pub after: &'a [usize],
    /// Positions that each query attends to, counted from the first page; empty if there are none here.
    pub seen: Vec<Range<usize>>,
}

impl Segment<'_> {
    /// Whether `q` and `out` have room for every query, and no query attends to more positions than exist.
    pub fn fits(&self, q: &[f32], out: &[f32]) -> bool {
        let (queries, positions) = (self.seen.len(), self.numbers.len() * PAGE);
        q.len() == queries * self.padded_dim
            && out.len() == queries * (self.padded_dim + LANES)
            && self.padded_dim.is_multiple_of(LANES)
            && positions <= SEGMENT
            && self.seen.iter().all(|seen| seen.start <= seen.end && seen.end <= positions)
    }

    #[inline(always)]
    pub fn page(&self, i: usize) -> &[u8] {
        self.numbered(self.numbers[i])
    }

    #[inline(always)]
    pub fn numbered(&self, number: usize) -> &[u8] {
        &self.pages[number].0.bytes()[self.head.clone()]
    }

    #[inline(always)]
    pub fn keys(&self, i: usize) -> &[u8] {
        &self.page(i)[..self.side]
    }

    #[inline(always)]
    pub fn values(&self, i: usize) -> &[u8] {
        &self.page(i)[self.side..2 * self.side]
    }

    /// Distance in bytes from the keys of page i to the data that is read `distance` pages later: other keys, or
    /// values.
    #[inline(always)]
    pub fn keys_ahead(&self, i: usize, distance: usize) -> usize {
        let (next, len) = (i + distance, self.numbers.len());
        let later = if next < len { self.keys(next) } else { self.values((next - len).min(len - 1)) };
        (later.as_ptr() as usize).wrapping_sub(self.keys(i).as_ptr() as usize)
    }

    /// Distance in bytes from the values of page i to the data read `distance` pages later: other values, or the next
    /// keys.
    #[inline(always)]
    pub fn values_ahead(&self, i: usize, distance: usize) -> usize {
        let (next, len) = (i + distance, self.numbers.len());
        let later = match self.after.get((next).wrapping_sub(len)) {
            _ if next < len => self.values(next),
            Some(&number) => self.numbered(number),
            None => self.values(i),
        };
        (later.as_ptr() as usize).wrapping_sub(self.values(i).as_ptr() as usize)
    }
}

/// Merges the result of a later segment into the state of one query; both have `padded_dim + 16` values.
#[inline(always)]
pub(crate) fn merge(state: &mut [f32], partial: &[f32]) {
    let padded = state.len() - LANES;
    let (a, b) = (state[padded], partial[padded]);
    let max = if b > a { b } else { a };
    let (keep, add) = (exp(a - max), exp(b - max));
    state[padded] = max;
    state[padded + 1] = state[padded + 1] * keep + partial[padded + 1] * add;
    for (state, partial) in state[..padded].iter_mut().zip(&partial[..padded]) {
        *state = *state * keep + *partial * add;
    }
}
