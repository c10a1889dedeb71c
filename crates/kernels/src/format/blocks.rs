//! Helpers for formats that store weights in blocks: reading their parts, and scales stored in blocks.

use super::stored::{Problem, Trits};
use crate::op::math::f16_to_f32;
use crate::pool::Pool;
use crate::scales::Scales;

/// The f16 at the beginning of `bytes`.
#[inline(always)]
pub(super) fn half(bytes: &[u8]) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// The first `N` bytes as an array: loops over a constant length become vector instructions.
#[inline(always)]
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

/// The place of the f16 scale in a block of trits.
#[derive(Clone, Copy)]
pub(super) struct ScaledBlock {
    /// Weights in a block.
    pub weights: usize,
    /// Bytes in a block.
    pub bytes: usize,
    /// Index of the scale's first byte.
    pub scale_at: usize,
}

impl ScaledBlock {
    /// The bits of a block's scale.
    pub fn bits(self, block: &[u8]) -> u16 {
        u16::from_le_bytes([block[self.scale_at], block[self.scale_at + 1]])
    }

    /// Whether the block is all zero.
    pub fn is_zero(self, block: &[u8]) -> bool {
        self.bits(block) & 0x7fff == 0
    }

    /// The scales of a matrix: one if all blocks with a nonzero weight have the same scale, otherwise one per group.
    pub fn scales(self, trits: &Trits, pool: &Pool) -> Result<Scales, Problem> {
        let groups = trits.cols() / self.weights;
        let mut bits = vec![0u16; trits.rows() * groups];
        pool.pieces(&mut bits, groups, |r, out| {
            for (out, block) in out.iter_mut().zip(trits.stored_row(r).chunks_exact(self.bytes)) {
                *out = self.bits(block);
            }
        });
        if bits.iter().any(|bits| bits & 0x7c00 == 0x7c00) {
            return Err(Problem::Damaged("the scale is not finite".into()));
        }
        let mut nonzero = bits.iter().copied().filter(|bits| bits & 0x7fff != 0);
        // In an all-zero matrix any scale is right.
        let Some(first) = nonzero.next() else { return Ok(Scales::One(1.0)) };
        if nonzero.all(|bits| bits == first) {
            return Ok(Scales::One(f16_to_f32(first)));
        }
        let values = bits.into_iter().map(|bits| if bits & 0x7fff == 0 { 0.0 } else { f16_to_f32(bits) }).collect();
        Ok(Scales::Groups { columns: self.weights, values })
    }
}

/// The scales of rows: one if all rows with a nonzero weight have the same scale. A row with the scale 0 must have zeros
/// only.
pub(super) fn row_scales(values: Vec<f32>) -> Scales {
    let mut nonzero = values.iter().copied().filter(|value| *value != 0.0);
    match nonzero.next() {
        // In an all-zero matrix any scale is right.
        None => Scales::One(1.0),
        Some(first) if first > 0.0 && nonzero.all(|value| value == first) => Scales::One(first),
        Some(_) => Scales::Rows(values),
    }
}
