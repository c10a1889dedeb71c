//! What AVX2 and AVX-512 share when they read single rows and columns.

use super::prefetch::prefetch_scattered;
use crate::lines::LINE;
use crate::op::sparse::{Columns, GROUP};

/// The rows at places `first ..` of `picked`; places beyond the end repeat the last row.
#[inline(always)]
pub(super) fn rows<'a, const N: usize>(rows: &'a [u8], stride: usize, picked: &[u32], first: usize) -> [&'a [u8]; N] {
    let last = picked.len() - 1;
    let mut at = [&rows[..0]; N];
    for r in 0..N {
        at[r] = &rows[picked[(first + r).min(last)] as usize * stride..][..stride];
    }
    at
}

/// Where the columns of a group begin, and their activations; places left over repeat the first column, times zero.
#[inline(always)]
pub(super) fn columns(these: &Columns<'_>, stride: usize) -> ([usize; GROUP], [i8; GROUP]) {
    let first = these.picked[0] as usize * stride;
    let (mut at, mut codes) = ([first; GROUP], [0; GROUP]);
    for i in 0..these.picked.len() {
        (at[i], codes[i]) = (these.picked[i] as usize * stride, these.codes[i]);
    }
    (at, codes)
}

/// Prefetches columns, line after line.
pub(super) struct Later<'a> {
    pub columns: &'a [u8],
    pub stride: usize,
    pub next: &'a [u32],
    /// Offset of the next line in the first of `next`.
    pub line: usize,
}

impl Later<'_> {
    #[inline(always)]
    pub fn fetch<const LINES: usize>(&mut self) {
        for _ in 0..LINES {
            let Some((&column, rest)) = self.next.split_first() else { return };
            prefetch_scattered(self.columns, column as usize * self.stride + self.line);
            self.line += LINE;
            if self.line == self.stride {
                (self.line, self.next) = (0, rest);
            }
        }
    }
}
