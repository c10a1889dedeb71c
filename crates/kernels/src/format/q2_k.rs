//! Q2_K of llama.cpp: 256 weights in 84 bytes.
//!
//! ```text
//! scales × 16 | codes × 64 | d: f16 | dmin: f16      value = d · scale · q − dmin · min
//! ```
//!
//! A byte of scales holds the scale (low nibble) and the minimum of 16 weights. In each half of 128 weights, byte l < 32
//! of the codes holds the weights l, l + 32, l + 64 and l + 96, lowest bits first. Source: llama.cpp, `ggml-quants.c`.

use super::blocks::{array, half};
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static Q2_K: Format = Format::of_rows("q2_k", &[10], Blocks::BLOCK);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (256, 84);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let (d, dmin) = (half(&block[80..]), half(&block[82..]));
        for run in 0..8 {
            let codes: [u8; 32] = array(&block[16 + 32 * (run / 4)..]);
            let shift = 2 * (run % 4);
            let mut values = [0.0; 32];
            for side in 0..2 {
                let packed = block[2 * run + side];
                let (scale, min) = (d * f32::from(packed & 15), dmin * f32::from(packed >> 4));
                for l in 16 * side..16 * (side + 1) {
                    values[l] = scale * f32::from(codes[l] >> shift & 3) - min;
                }
            }
            out[32 * run..32 * (run + 1)].copy_from_slice(&values);
        }
    }
}
