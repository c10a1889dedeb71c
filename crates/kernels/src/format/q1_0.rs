//! llama.cpp's Q1_0: blocks of 128 binary weights in 18 bytes.
//!
//! ```text
//! d: f16 | signs: 16 bytes       bit j of byte m is weight 8m + j: 1 is +d, 0 is −d
//! ```
//!
//! Source: llama.cpp, `ggml-quants.c`.

use super::blocks::{ScaledBlock, half};
use super::stored::{Decoder, Format, Problem, Ternary};
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static Q1_0: Format = Format {
    ternary: Some(Ternary { scales: |trits, pool| Ok((BLOCK.scales(trits, pool)?, 1.0)), row, writer: None }),
    ..Format::of_rows("q1_0", &[41], Blocks::BLOCK)
};

const BLOCK: ScaledBlock = ScaledBlock { weights: 128, bytes: 18, scale_at: 0 };

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (BLOCK.weights, BLOCK.bytes);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        for (out, byte) in out.as_chunks_mut::<8>().0.iter_mut().zip(&block[2..]) {
            for (bit, out) in out.iter_mut().enumerate() {
                *out = if byte >> bit & 1 == 1 { d } else { -d };
            }
        }
    }
}

fn row(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    for (block, out) in decoder.stored_row(r).chunks_exact(BLOCK.bytes).zip(out.chunks_exact_mut(BLOCK.weights)) {
        if BLOCK.is_zero(block) {
            out.fill(0);
            continue;
        }
        for (out, byte) in out.as_chunks_mut::<8>().0.iter_mut().zip(&block[2..]) {
            for (bit, out) in out.iter_mut().enumerate() {
                *out = 2 * (byte >> bit & 1) as i8 - 1;
            }
        }
    }
    Ok(())
}
