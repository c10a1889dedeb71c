//! llama.cpp's Q1_0: blocks of 128 binary weights in 18 bytes.
//!
//! ```text
//! d: f16 | signs: 16 bytes       bit j of byte m is weight 8m + j: 1 is +d, 0 is −d
//! ```
//!
//! Source: llama.cpp, `ggml-quants.c`.

use super::blocks::half;
use super::scaled::{self, ScaledBlock, TritBlock, WrittenBlock};
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static Q1_0: Format = scaled::written::<Blocks>("q1_0", &[41]);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = Self::SHAPE.size();

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

impl TritBlock for Blocks {
    const SHAPE: ScaledBlock = ScaledBlock { weights: 128, bytes: 18, scale_at: 0 };

    fn unpack(block: &[u8], out: &mut [i8]) -> bool {
        unpack(&block[2..], out)
    }
}

impl WrittenBlock for Blocks {
    const ZEROS: bool = false;

    fn pack(trits: &[i8], out: &mut Vec<u8>) {
        let byte = |trits: &[i8; 8]| trits.iter().rev().fold(0, |byte, trit| byte << 1 | u8::from(*trit > 0));
        out.extend(trits.as_chunks::<8>().0.iter().map(byte));
    }
}

/// Decodes signs to −1 and +1. Every code is one of them, so the result is `false`.
pub(super) fn unpack(signs: &[u8], out: &mut [i8]) -> bool {
    for (out, byte) in out.as_chunks_mut::<8>().0.iter_mut().zip(signs) {
        for (bit, out) in out.iter_mut().enumerate() {
            *out = 2 * (byte >> bit & 1) as i8 - 1;
        }
    }
    false
}
