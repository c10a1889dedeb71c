//! Row and column selection shared by the AVX2 and AVX-512 sparse kernels.

use super::prefetch::prefetch_scattered;
use crate::lines::LINE;
use crate::op::sparse::{Columns, GROUP};

/// The rows `picked[first ..]`, `N` of them; beyond the end of `picked` the last row is repeated.
#[inline(always)]
pub(super) fn rows<'a, const N: usize>(rows: &'a [u8], stride: usize, picked: &[u32], first: usize) -> [&'a [u8]; N] {
    let last = picked.len() - 1;
    let mut at = [&rows[..0]; N];
    for r in 0..N {
        at[r] = &rows[picked[(first + r).min(last)] as usize * stride..][..stride];
    }
    at
}

/// The offsets and activations of the columns in a group. Unused entries repeat the first column with activation 0.
#[inline(always)]
pub(super) fn columns(these: &Columns<'_>, stride: usize) -> ([usize; GROUP], [i8; GROUP]) {
    let first = these.picked[0] as usize * stride;
    let (mut at, mut codes) = ([first; GROUP], [0; GROUP]);
    for i in 0..these.picked.len() {
        (at[i], codes[i]) = (these.picked[i] as usize * stride, these.codes[i]);
    }
    (at, codes)
}

/// Prefetches columns line by line.
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
