//! Tiles of 16 rows, in the order of the kernels. `op/ternary.rs` describes a tile.

use std::ops::Range;

use super::{Layout, LayoutKind, Source};
use crate::cpu::Cpu;
use crate::lines::{LINE, Line, Lines};
use crate::op::ternary::{MAX_COLS, TILE, code, lane};

/// Matrices in tiles of 16 rows, for products that read all of a matrix.
pub static T16: LayoutKind =
    LayoutKind { name: "t16", max_cols: MAX_COLS, pack: |source| Box::new(Tiles::pack(source)) };

struct Tiles {
    /// Lines in a tile.
    groups: usize,
    lines: Lines,
}

impl Tiles {
    fn pack(source: &Source<'_>) -> Self {
        let groups = source.cols.div_ceil(16);
        let mut lines = Lines::zeroed(source.rows.div_ceil(TILE) * groups);
        source.pool.pieces(&mut lines, groups.max(1), |tile, lines| {
            source.codes(tile, tile * TILE..(tile + 1) * TILE, |row, codes| {
                for (line, codes) in lines.iter_mut().zip(codes.as_chunks::<16>().0) {
                    line.0[4 * row..4 * row + 4].copy_from_slice(&lane(codes));
                }
            });
        });
        Self { groups, lines }
    }
}

impl Layout for Tiles {
    fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }

    fn step(&self) -> usize {
        1
    }

    fn tiles<'a>(&'a self, _: &Cpu, tiles: Range<usize>, _: &'a mut Vec<Line>) -> &'a [u8] {
        let tile = self.groups * LINE;
        &self.lines.bytes()[tiles.start * tile..tiles.end * tile]
    }

    fn trits(&self, row: usize, out: &mut [i8]) {
        let tile = &self.lines.bytes()[row / TILE * self.groups * LINE..];
        for (k, out) in out.iter_mut().enumerate() {
            *out = code(tile, row % TILE, k) as i8 - 1;
        }
    }
}
