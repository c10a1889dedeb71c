//! Positions that a query attends to.

use std::ops::Range;

/// The positions that a query attends to, as a function of its own position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mask {
    /// All positions up to its own.
    #[default]
    Causal,
    /// This number of positions (at least 1), its own being the last.
    Window(usize),
    /// All positions of the sequence, also later ones (bidirectional attention). They must be stored before.
    Full,
}

impl Mask {
    /// The positions that the query at `position` attends to, in a sequence of `end` stored positions.
    pub fn seen(self, position: usize, end: usize) -> Range<usize> {
        match self {
            Self::Causal => 0..position + 1,
            Self::Window(len) => (position + 1).saturating_sub(len.max(1))..position + 1,
            Self::Full => 0..end,
        }
    }
}

/// One row of a batch: a token of the sequence whose pages are `pages`.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    /// Numbers of the sequence's pages, in order. Pages without a position that is attended to are not read.
    pub pages: &'a [usize],
    /// The positions that the token attends to; at least one.
    pub seen: Range<usize>,
}
