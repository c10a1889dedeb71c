//! What one step sees: sequences of any lengths, one after another.

use std::ops::Range;

/// The target of a row that no loss is taken at.
pub const NONE: u32 = u32::MAX;

/// Sequences one after another, without padding. Row `i` is one token at its position in its sequence.
///
/// ```text
/// tokens   BOS  Hi   !   EOS │ BOS  Yes  EOS
/// targets  Hi   !    EOS  –  │ Yes  EOS   –       – is NONE
/// starts   0                 │ 4
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token of each row.
    pub tokens: Vec<u32>,
    /// Token that should follow each row, or [`NONE`].
    pub targets: Vec<u32>,
    /// First row of each sequence, in order; the first one is 0.
    pub starts: Vec<usize>,
}

impl Batch {
    /// Rows.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Rows that a loss is taken at.
    pub fn learned(&self) -> usize {
        self.targets.iter().filter(|target| **target != NONE).count()
    }

    /// The rows of each sequence.
    pub fn sequences(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let ends = self.starts.iter().skip(1).copied().chain([self.len()]);
        self.starts.iter().copied().zip(ends).map(|(start, end)| start..end)
    }

    /// Position of each row in its sequence, from 0.
    pub fn positions(&self) -> Vec<usize> {
        self.sequences().flat_map(|rows| 0..rows.len()).collect()
    }

    /// The rows that a loss is taken at, and their targets.
    pub fn wanted(&self) -> (Vec<usize>, Vec<u32>) {
        let wanted = self.targets.iter().copied().enumerate().filter(|(_, target)| *target != NONE);
        wanted.unzip()
    }
}
