//! Q5_K of llama.cpp: 256 weights in 176 bytes.
//!
//! ```text
//! d: f16 | dmin: f16 | scales × 12 | high bits × 32 | nibbles × 128      value = d · scale · q − dmin · min
//! ```
//!
//! As Q4_K, with a fifth bit: bit i of high byte l belongs to weight l of sub-block i. Source: llama.cpp,
//! `ggml-quants.c`.

use super::blocks::{array, half};
use super::q4_k::scale_and_min;
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static Q5_K: Format = Format::of_rows("q5_k", &[13], Blocks::BLOCK);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (256, 176);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let (d, dmin, high): (_, _, [u8; 32]) = (half(block), half(&block[2..]), array(&block[16..]));
        for i in 0..8 {
            let (scale, min) = scale_and_min(&block[4..16], i);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            let nibbles: [u8; 32] = array(&block[48 + 32 * (i / 2)..]);
            let shift = 4 * (i % 2);
            let mut values = [0.0; 32];
            for l in 0..32 {
                let q = nibbles[l] >> shift & 15 | (high[l] >> i & 1) << 4;
                values[l] = scale * f32::from(q) - min;
            }
            out[32 * i..32 * (i + 1)].copy_from_slice(&values);
        }
    }
}
