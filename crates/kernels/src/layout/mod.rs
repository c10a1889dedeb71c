//! Memory layouts of a matrix's trits.
//!
//! ```text
//! trits of rows ──► Source ──► LayoutKind::pack ──► Layout ──► tiles     the product with many tokens, on every set
//!                                                        └──► product   only the rows or columns that are needed
//! ```
//!
//! Every layout can produce tiles ("T16", described in `op/ternary.rs`). So each works with every instruction set, and
//! can share a product with matrices in other layouts. The layout is chosen when a matrix is packed. A new one is a
//! file and a row of [`ALL`].

mod columns;
mod rows;
mod t16;

use std::ops::Range;

pub use columns::COLUMNS;
pub use rows::ROWS;
pub use t16::T16;

use crate::activations::Activations;
use crate::cpu::Cpu;
use crate::finish::Finish;
use crate::lines::Line;
use crate::pool::Pool;
use crate::rows::Rows;
use crate::sparse::Part;

/// Every layout.
pub static ALL: &[&LayoutKind] = &[&T16, &ROWS, &COLUMNS];

/// A layout for packing matrices.
pub struct LayoutKind {
    /// Name for reports.
    pub name: &'static str,
    /// Most columns of a matrix, so that no sum overflows.
    pub max_cols: usize,
    /// Packs all rows. The bytes do not depend on the number of threads.
    pub(crate) pack: fn(&Source<'_>) -> Box<dyn Layout>,
}

impl std::fmt::Debug for LayoutKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The packed trits of one matrix, whose shape does not change.
pub(crate) trait Layout: Send + Sync {
    /// Bytes of packed trits.
    fn bytes(&self) -> usize;

    /// Ranges of tiles must begin at multiples of this.
    fn step(&self) -> usize;

    /// The codes of some tiles; converted into `scratch` if the layout differs.
    fn tiles<'a>(&'a self, cpu: &Cpu, tiles: Range<usize>, scratch: &'a mut Vec<Line>) -> &'a [u8];

    /// Decodes row `row` to −1, 0, +1; `out` has one value per column.
    fn trits(&self, row: usize, out: &mut [i8]);

    /// Bytes of one row or column, if the layout can read single ones.
    fn part_bytes(&self) -> Option<usize> {
        None
    }

    /// Computes only the needed part of a product. `None` if the layout cannot read such parts, or the whole product
    /// takes less time.
    fn product(&self, _: &Cpu, _: &Activations, _: Part<'_>, _: &Finish) -> Option<Rows> {
        None
    }
}

/// The rows of a matrix that is being packed.
pub(crate) struct Source<'a> {
    pub rows: usize,
    pub cols: usize,
    pub pool: &'a Pool,
    /// Writes row `row` during a piece of work; `false` if the row cannot be read.
    pub fill: &'a (dyn Fn(usize, usize, &mut [i8]) -> bool + Sync),
}

impl Source<'_> {
    /// Passes the codes (trit + 1) of some rows to `write`, each with its index among `rows`. Codes are padded to a
    /// multiple of 16 with the code of 0. Rows beyond the matrix, and rows after one that cannot be read, are left out.
    pub fn codes(&self, piece: usize, rows: impl Iterator<Item = usize>, mut write: impl FnMut(usize, &[u8])) {
        let mut trits = vec![0i8; self.cols];
        let mut codes = vec![1u8; self.cols.next_multiple_of(16)];
        for (i, row) in rows.enumerate().filter(|(_, row)| *row < self.rows) {
            if !(self.fill)(piece, row, &mut trits) {
                return;
            }
            for (code, trit) in codes.iter_mut().zip(&trits) {
                // `signum` avoids the code 3, for which the sums of some kernels have no room.
                *code = (1 + trit.signum()) as u8;
            }
            write(i, &codes);
        }
    }
}
