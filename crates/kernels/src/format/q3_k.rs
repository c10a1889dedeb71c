//! Q3_K of llama.cpp: 256 weights in 110 bytes.
//!
//! ```text
//! high bits × 32 | codes × 64 | scales × 12 | d: f16      value = d · (scale − 32) · (q − 4)
//! ```
//!
//! In each half h of 128 weights, byte l < 32 of the codes holds the low two bits of the weights l, l + 32, l + 64 and
//! l + 96, lowest first; bit 4h + k of high byte l is bit 2 of weight l + 32k. The scales of 16 weights each have 6 bits:
//! the low four are nibbles of the first eight bytes, the high two are pairs of bits of the last four. Source: llama.cpp,
//! `ggml-quants.c`.

use super::blocks::{array, half};
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static Q3_K: Format = Format::of_rows("q3_k", &[11], Blocks::BLOCK);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (256, 110);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let (d, high, s): (_, [u8; 32], [u8; 12]) = (half(&block[108..]), array(block), array(&block[96..]));
        for run in 0..8 {
            let codes: [u8; 32] = array(&block[32 + 32 * (run / 4)..]);
            let shift = 2 * (run % 4);
            let mut values = [0.0; 32];
            for side in 0..2 {
                let i = 2 * run + side;
                let scale = s[i % 8] >> (4 * (i / 8)) & 15 | (s[8 + i % 4] >> (2 * (i / 4)) & 3) << 4;
                let scale = d * (i32::from(scale) - 32) as f32;
                for l in 16 * side..16 * (side + 1) {
                    let q = codes[l] >> shift & 3 | (high[l] >> run & 1) << 2;
                    values[l] = scale * (i32::from(q) - 4) as f32;
                }
            }
            out[32 * run..32 * (run + 1)].copy_from_slice(&values);
        }
    }
}
