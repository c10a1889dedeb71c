//! Activations of group-scaled matrices, as integers with one scale per group.

use crate::cpu::Cpu;
use crate::op::grouped::{Bits, COLUMNS, Codes, Division, TOKENS};
use crate::pool::SendPtr;
use crate::rows::Rows;

/// How many 8-bit parts a code has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// 8-bit codes.
    One,
    /// 14-bit codes: 128 times a high part plus a low part.
    Two,
}

impl Parts {
    const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// Rows of integers `(token, feature)` with a scale for each group of columns.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupedActivations {
    cols: usize,
    columns: usize,
    parts: Parts,
    tokens: usize,
    codes: Vec<i8>,
    inverses: Vec<f32>,
    offsets: Vec<i32>,
}

impl GroupedActivations {
    /// Quantises each group of `columns` values of a row: `a = limit / max|x|`, codes `round_half_even(x · a)`. The limit
    /// is 127 for one part and 8127 for two.
    ///
    /// # Panics
    ///
    /// If a group does not have 32, 64, 128 or 256 columns.
    pub fn quantize(cpu: &Cpu, x: &Rows, columns: usize, parts: Parts) -> Self {
        assert!(COLUMNS.contains(&columns), "groups of 32, 64, 128 or 256 columns, not {columns}");
        let (tokens, cols) = (x.len(), x.dim());
        // Neither the bits of weights nor the parts of a row matter to the codes.
        let division = Division::new(Bits::Two, cols, columns, 1);
        let (depth, groups) = (division.depth(), division.groups());
        let mut codes = vec![0; tokens * depth * parts.count()];
        let (mut inverses, mut offsets) = (vec![0.0; tokens * groups], vec![0; tokens * groups]);
        let (inverses_at, offsets_at) = (SendPtr(inverses.as_mut_ptr()), SendPtr(offsets.as_mut_ptr()));
        cpu.pool.pieces(&mut codes, (TOKENS * depth * parts.count()).max(1), |block, codes| {
            let first = block * TOKENS;
            let count = TOKENS.min(tokens - first);
            // SAFETY: each block of tokens is one piece of work, so each element is written by one thread; both vectors
            // have `groups` elements for each token.
            let (inverses, offsets) = unsafe {
                (
                    std::slice::from_raw_parts_mut(inverses_at.get().add(first * groups), count * groups),
                    std::slice::from_raw_parts_mut(offsets_at.get().add(first * groups), count * groups),
                )
            };
            let x = &x.data()[first * cols..(first + count) * cols];
            cpu.isa.grouped_codes(x, division, parts.count(), codes, inverses, offsets);
        });
        Self { cols, columns, parts, tokens, codes, inverses, offsets }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.tokens
    }

    /// Features in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Columns in a group.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The codes of some tokens, which begin with a block.
    pub(super) fn tokens(&self, tokens: std::ops::Range<usize>) -> Codes<'_> {
        assert!(tokens.start.is_multiple_of(TOKENS) && tokens.end <= self.tokens, "whole blocks");
        assert!(tokens.end.is_multiple_of(TOKENS) || tokens.end == self.tokens, "whole blocks");
        let division = Division::new(Bits::Two, self.cols, self.columns, 1);
        let (parts, width, groups) = (self.parts.count(), division.depth() * self.parts.count(), division.groups());
        Codes {
            codes: &self.codes[tokens.start * width..tokens.end * width],
            parts,
            tokens: tokens.len(),
            inverses: &self.inverses[tokens.start * groups..tokens.end * groups],
            offsets: &self.offsets[tokens.start * groups..tokens.end * groups],
        }
    }
}
