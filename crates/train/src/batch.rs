//! The input of one forward and backward pass: sequences of any lengths, one after another.

use std::ops::Range;

/// The target of a row that does not count in the loss.
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
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether the batch has no rows.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Number of rows that count in the loss.
    pub fn learned(&self) -> usize {
        self.targets.iter().filter(|target| **target != NONE).count()
    }

    /// The range of rows of each sequence.
    pub fn sequences(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let ends = self.starts.iter().skip(1).copied().chain([self.len()]);
        self.starts.iter().copied().zip(ends).map(|(start, end)| start..end)
    }

    /// Position of each row in its sequence, from 0.
    pub fn positions(&self) -> Vec<usize> {
        self.sequences().flat_map(|rows| 0..rows.len()).collect()
    }

    /// The rows that count in the loss, and their targets.
    pub fn scored(&self) -> (Vec<usize>, Vec<u32>) {
        let scored = self.targets.iter().copied().enumerate().filter(|(_, target)| *target != NONE);
        scored.unzip()
    }
}
