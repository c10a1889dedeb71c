//! llama.cpp's TQ1_0: blocks of 256 weights in 54 bytes, five trits per byte.
//!
//! ```text
//! low: 48 bytes, five trits each | high: 4 bytes, four trits each | scale: f16
//! trit n of   low[m], m < 32       low[32 + m], m < 16     high[j], j < 4
//!   weight    32n + m              160 + 16n + m           240 + 4n + j
//! ```
//!
//! A byte is a base-3 fraction, rounded up. Multiplying it by 3ⁿ (wrapping) moves trit n to the front; the carry of one
//! more multiplication by 3 is the code, trit + 1. Source: llama.cpp, `ggml-quants.c`.

use super::blocks::{ScaledBlock, half};
use super::stored::{Decoder, Format, Problem, Ternary};
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static TQ1_0: Format = Format {
    ternary: Some(Ternary { scales: |trits, pool| Ok((BLOCK.scales(trits, pool)?, 1.0)), row, writer: None }),
    ..Format::of_rows("tq1_0", 34, Blocks::BLOCK)
};

const BLOCK: ScaledBlock = ScaledBlock { weights: 256, bytes: 54, scale_at: 52 };

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (BLOCK.weights, BLOCK.bytes);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let mut trits = [0; BLOCK.weights];
        unpack(block, &mut trits);
        let d = half(&block[BLOCK.scale_at..]);
        for (out, trit) in out.iter_mut().zip(trits) {
            *out = d * f32::from(trit);
        }
    }
}

fn row(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    for (block, out) in decoder.stored_row(r).chunks_exact(BLOCK.bytes).zip(out.chunks_exact_mut(BLOCK.weights)) {
        if BLOCK.is_zero(block) { out.fill(0) } else { unpack(block, out) }
    }
    Ok(())
}

/// Decodes the trits of a block.
#[inline(always)]
fn unpack(block: &[u8], out: &mut [i8]) {
    let (first, rest) = out.split_at_mut(160);
    let (second, third) = rest.split_at_mut(80);
    digits(&block[..32], first);
    digits(&block[32..48], second);
    digits(&block[48..52], third);
}

/// Decodes trit n of every byte, then trit n + 1 of every byte, until `out` is full.
#[inline(always)]
fn digits(bytes: &[u8], out: &mut [i8]) {
    let mut power = 1u8;
    for out in out.chunks_exact_mut(bytes.len()) {
        for (out, byte) in out.iter_mut().zip(bytes) {
            let code = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
            *out = code as i8 - 1;
        }
        power = power.wrapping_mul(3);
    }
}
