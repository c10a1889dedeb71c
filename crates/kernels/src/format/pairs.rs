//! Blocks of a scale and 2-bit codes, four neighbours in each byte.
//!
//! ```text
//! d: f16 | codes       byte m:   bits 7…6    5…4      3…2      1…0
//!                              weight 4m + 3  4m + 2  4m + 1   4m      code = trit + 1
//! ```
//!
//! The code 3 is the weight 2d. Ternary models do not have it, other models in these formats may.

use super::blocks::half;
use super::planes;
use super::scaled::{ScaledBlock, TritBlock, WrittenBlock};
use super::stored::Problem;
use crate::op::dense::Stored;

/// Blocks of `WEIGHTS` weights.
pub(super) struct Pairs<const WEIGHTS: usize>;

impl<const WEIGHTS: usize> Stored for Pairs<WEIGHTS> {
    const BLOCK: (usize, usize) = Self::SHAPE.size();

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        for (out, byte) in out.as_chunks_mut::<4>().0.iter_mut().zip(&block[2..]) {
            for (plane, out) in out.iter_mut().enumerate() {
                *out = d * (i32::from(byte >> (2 * plane) & 3) - 1) as f32;
            }
        }
    }
}

impl<const WEIGHTS: usize> TritBlock for Pairs<WEIGHTS> {
    const SHAPE: ScaledBlock = ScaledBlock { weights: WEIGHTS, bytes: 2 + WEIGHTS / 4, scale_at: 0 };

    fn unpack(block: &[u8], out: &mut [i8]) -> bool {
        unpack(&block[2..], out)
    }

    fn problem(r: usize) -> Problem {
        doubled(r)
    }
}

/// Decodes codes to trits. Returns whether one is 3.
pub(super) fn unpack(codes: &[u8], out: &mut [i8]) -> bool {
    let mut doubled = 0;
    for (out, byte) in out.as_chunks_mut::<4>().0.iter_mut().zip(codes) {
        doubled |= byte & byte >> 1 & 0x55;
        for (plane, out) in out.iter_mut().enumerate() {
            *out = (byte >> (2 * plane) & 3) as i8 - 1;
        }
    }
    doubled != 0
}

/// The error for a code 3 in row `r`.
pub(super) fn doubled(r: usize) -> Problem {
    Problem::Unsupported(
        format!("row {r} has a weight of twice the scale, so it is not ternary"),
        "use a ternary model: its weights are −1, 0 and +1 times a scale",
    )
}

impl<const WEIGHTS: usize> WrittenBlock for Pairs<WEIGHTS> {
    fn pack(trits: &[i8], out: &mut Vec<u8>) {
        planes::pack(WEIGHTS / 4, |byte, plane| trits[4 * byte + plane], out);
    }
}
