//! Q4_0 of llama.cpp: 32 weights in 18 bytes.
//!
//! ```text
//! d: f16 | nibbles × 16      value = d · (q − 8); low nibbles are the weights 0 … 15, high ones 16 … 31
//! ```

use super::blocks::{array, half};
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static Q4_0: Format = Format::of_rows("q4_0", &[2], Blocks::BLOCK);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (32, 18);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        let nibbles: [u8; 16] = array(&block[2..]);
        let mut values = [0.0; 32];
        for l in 0..16 {
            values[l] = (i32::from(nibbles[l] & 15) - 8) as f32 * d;
            values[l + 16] = (i32::from(nibbles[l] >> 4) - 8) as f32 * d;
        }
        out.copy_from_slice(&values);
    }
}
