//! Blocks of trits with one f16 scale.

use super::blocks::half;
use super::stored::{Decoder, Format, Problem, Ternary, Trits, unused_code};
use super::writer::{Scaling, Writer};
use crate::op::math::{f16_to_f32, f32_to_f16};
use crate::pool::Pool;
use crate::scales::Scales;

/// The size of a block, and the place of its scale: at the beginning or at the end.
#[derive(Clone, Copy)]
pub(super) struct ScaledBlock {
    /// Weights in a block.
    pub weights: usize,
    /// Bytes in a block.
    pub bytes: usize,
    /// Index of the scale's first byte.
    pub scale_at: usize,
}

/// A format of such blocks.
pub(super) trait TritBlock {
    const SHAPE: ScaledBlock;

    /// Decodes the trits of a block. Returns whether it has a code that is none of −1, 0, +1.
    fn unpack(block: &[u8], out: &mut [i8]) -> bool;

    /// The error for such a code in row `r`.
    fn problem(r: usize) -> Problem {
        unused_code(r)
    }
}

/// A format of such blocks that is written.
pub(super) trait WrittenBlock: TritBlock {
    /// Whether there is a code for the weight 0.
    const ZEROS: bool = true;

    /// Appends the codes of a block, without the scale.
    fn pack(trits: &[i8], out: &mut Vec<u8>);
}

/// The format with blocks `B`, which is only read.
pub(super) const fn read<B: TritBlock>(name: &'static str, ggml: &'static [u32]) -> Format {
    format::<B>(name, ggml, None)
}

/// The format with blocks `B`.
pub(super) const fn written<B: WrittenBlock>(name: &'static str, ggml: &'static [u32]) -> Format {
    let writer = Writer {
        scaling: Scaling::Groups(B::SHAPE.weights),
        zeros: B::ZEROS,
        rounded: |scale| f16_to_f32(f32_to_f16(scale)),
        rows: write::<B>,
        tail: |_| Vec::new(),
    };
    format::<B>(name, ggml, Some(writer))
}

const fn format<B: TritBlock>(name: &'static str, ggml: &'static [u32], writer: Option<Writer>) -> Format {
    let ternary = Ternary { scales: |trits, pool| Ok((B::SHAPE.scales(trits, pool)?, 1.0)), row: row::<B>, writer };
    Format { ternary: Some(ternary), ..Format::of_rows(name, ggml, B::SHAPE.size()) }
}

impl ScaledBlock {
    /// (weights, bytes).
    pub const fn size(self) -> (usize, usize) {
        (self.weights, self.bytes)
    }

    /// The bits of a block's scale.
    fn bits(self, block: &[u8]) -> u16 {
        u16::from_le_bytes([block[self.scale_at], block[self.scale_at + 1]])
    }

    /// Whether the block is all zero.
    fn is_zero(self, block: &[u8]) -> bool {
        self.bits(block) & 0x7fff == 0
    }

    /// The scales of a matrix: one if all blocks with a nonzero weight have the same scale, otherwise one per group.
    fn scales(self, trits: &Trits, pool: &Pool) -> Result<Scales, Problem> {
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

/// Decodes a block of at most 256 weights to trits times the scale.
#[inline(always)]
pub(super) fn decode<B: TritBlock>(block: &[u8], out: &mut [f32]) {
    let mut trits = [0; 256];
    let trits = &mut trits[..B::SHAPE.weights];
    let _ = B::unpack(block, trits);
    let d = half(&block[B::SHAPE.scale_at..]);
    for (out, trit) in out.iter_mut().zip(trits) {
        *out = d * f32::from(*trit);
    }
}

fn row<B: TritBlock>(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    let (weights, bytes) = B::SHAPE.size();
    let mut unused = false;
    for (block, out) in decoder.stored_row(r).chunks_exact(bytes).zip(out.chunks_exact_mut(weights)) {
        if B::SHAPE.is_zero(block) {
            out.fill(0);
        } else {
            unused |= B::unpack(block, out);
        }
    }
    if unused { Err(B::problem(r)) } else { Ok(()) }
}

/// Appends blocks, each with its own scale.
fn write<B: WrittenBlock>(trits: &[i8], scales: &[f32], out: &mut Vec<u8>) {
    for (block, scale) in trits.chunks_exact(B::SHAPE.weights).zip(scales) {
        let zero = block.iter().all(|trit| *trit == 0);
        let scale = f32_to_f16(if zero { 0.0 } else { *scale }).to_le_bytes();
        if B::SHAPE.scale_at == 0 {
            out.extend(scale);
        }
        B::pack(block, out);
        if B::SHAPE.scale_at > 0 {
            out.extend(scale);
        }
    }
}
