//! Q5_0 of llama.cpp: 32 weights in 22 bytes.
//!
//! ```text
//! d: f16 | high bits: u32 | nibbles × 16      value = d · (q − 16); low nibbles are the weights 0 … 15, high ones 16 … 31
//! ```
//!
//! Bit i of the high bits is bit 4 of weight i.

use super::blocks::{array, half};
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static Q5_0: Format = Format::of_rows("q5_0", &[6], Blocks::BLOCK);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (32, 22);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let (d, high) = (half(block), u32::from_le_bytes(array(&block[2..])));
        let nibbles: [u8; 16] = array(&block[6..]);
        let mut values = [0.0; 32];
        for l in 0..16 {
            let low = u32::from(nibbles[l] & 15) | (high >> l & 1) << 4;
            let up = u32::from(nibbles[l] >> 4) | (high >> (l + 16) & 1) << 4;
            values[l] = (low as i32 - 16) as f32 * d;
            values[l + 16] = (up as i32 - 16) as f32 * d;
        }
        out.copy_from_slice(&values);
    }
}
