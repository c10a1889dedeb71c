//! Q4_K of llama.cpp: 256 weights in 144 bytes.
//!
//! ```text
//! d: f16 | dmin: f16 | scales × 12 | nibbles × 128      value = d · scale · q − dmin · min
//! ```
//!
//! 32 bytes of nibbles hold two sub-blocks of 32 weights, low nibbles first. The twelve bytes hold eight pairs of scale
//! and minimum, 6 bits each.

use super::blocks::{array, half};
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static Q4_K: Format = Format::of_rows("q4_k", &[12], Blocks::BLOCK);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (256, 144);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let (d, dmin, s) = (half(block), half(&block[2..]), &block[4..16]);
        for i in 0..8 {
            let (scale, min) = scale_and_min(s, i);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            let nibbles: [u8; 32] = array(&block[16 + 32 * (i / 2)..]);
            let shift = 4 * (i % 2);
            let mut values = [0.0; 32];
            for l in 0..32 {
                values[l] = scale * ((u32::from(nibbles[l]) >> shift & 15) as f32) - min;
            }
            out[32 * i..32 * (i + 1)].copy_from_slice(&values);
        }
    }
}

/// Scale and minimum of sub-block `i`, 6 bits each.
#[inline(always)]
pub(super) fn scale_and_min(s: &[u8], i: usize) -> (u8, u8) {
    match i {
        0..4 => (s[i] & 63, s[i + 4] & 63),
        _ => (s[i + 4] & 15 | s[i - 4] >> 6 << 4, s[i + 4] >> 4 | s[i] >> 6 << 4),
    }
}
