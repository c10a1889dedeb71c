//! Blocks of a scale and 2-bit codes, four neighbours in each byte.
//!
//! ```text
//! d: f16 | codes       byte m:   bits 7…6    5…4      3…2      1…0
//!                              weight 4m + 3  4m + 2  4m + 1   4m      code = trit + 1
//! ```
//!
//! The code 3 is the weight 2d. Ternary models do not have it, other models in these formats may.

use super::blocks::{ScaledBlock, half};
use super::planes;
use super::stored::{Decoder, Format, Problem, Ternary, Writer};
use crate::op::dense::Stored;
use crate::op::math::{f16_to_f32, f32_to_f16};

/// The format with blocks of `WEIGHTS` weights.
pub(super) const fn format<const WEIGHTS: usize>(name: &'static str, ggml: &'static [u32]) -> Format {
    let writer =
        Writer { rounded: |scale| f16_to_f32(f32_to_f16(scale)), blocks: write::<WEIGHTS>, tail: |_| Vec::new() };
    let scales = |trits: &_, pool: &_| Ok((block::<WEIGHTS>().scales(trits, pool)?, 1.0));
    Format {
        ternary: Some(Ternary { scales, row: row::<WEIGHTS>, writer: Some(writer) }),
        ..Format::of_rows(name, ggml, Pairs::<WEIGHTS>::BLOCK)
    }
}

const fn block<const WEIGHTS: usize>() -> ScaledBlock {
    ScaledBlock { weights: WEIGHTS, bytes: 2 + WEIGHTS / 4, scale_at: 0 }
}

/// Blocks of `WEIGHTS` weights.
pub(super) struct Pairs<const WEIGHTS: usize>;

impl<const WEIGHTS: usize> Stored for Pairs<WEIGHTS> {
    const BLOCK: (usize, usize) = (WEIGHTS, 2 + WEIGHTS / 4);

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

fn row<const WEIGHTS: usize>(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    let block = block::<WEIGHTS>();
    let mut doubled = 0;
    for (stored, out) in decoder.stored_row(r).chunks_exact(block.bytes).zip(out.chunks_exact_mut(WEIGHTS)) {
        if block.is_zero(stored) {
            out.fill(0);
            continue;
        }
        for (out, byte) in out.as_chunks_mut::<4>().0.iter_mut().zip(&stored[2..]) {
            doubled |= byte & byte >> 1 & 0x55;
            for (plane, out) in out.iter_mut().enumerate() {
                *out = (byte >> (2 * plane) & 3) as i8 - 1;
            }
        }
    }
    match doubled {
        0 => Ok(()),
        _ => Err(Problem::Unsupported(
            format!("row {r} has a weight of twice the scale, so it is not ternary"),
            "use a ternary model: its weights are −1, 0 and +1 times a scale",
        )),
    }
}

fn write<const WEIGHTS: usize>(trits: &[i8], scale: f32, out: &mut Vec<u8>) {
    for block in trits.chunks_exact(WEIGHTS) {
        let zero = block.iter().all(|trit| *trit == 0);
        out.extend(f32_to_f16(if zero { 0.0 } else { scale }).to_le_bytes());
        planes::pack(WEIGHTS / 4, |byte, plane| block[4 * byte + plane], out);
    }
}
