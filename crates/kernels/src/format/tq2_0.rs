//! llama.cpp's TQ2_0: blocks of 256 weights in 66 bytes.
//!
//! ```text
//! codes: 64 bytes | scale: f16
//! byte 32a + m (a < 2, m < 32):   bits 7…6         5…4            3…2            1…0
//!                                 128a + 96 + m  128a + 64 + m  128a + 32 + m  128a + m      code = trit + 1
//! ```
//!
//! Source: llama.cpp, `ggml-quants.c`.

use super::blocks::{array, half};
use super::planes;
use super::scaled::{self, ScaledBlock, TritBlock, WrittenBlock};
use super::stored::Format;
use crate::op::dense::Stored;

/// The format described in the module documentation.
pub static TQ2_0: Format = scaled::written::<Blocks>("tq2_0", &[35]);

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = Self::SHAPE.size();

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let d = half(&block[Self::SHAPE.scale_at..]);
        for a in 0..2 {
            let codes: [u8; 32] = array(&block[32 * a..]);
            for plane in 0..4 {
                let mut values = [0.0; 32];
                for m in 0..32 {
                    values[m] = d * (i32::from(codes[m] >> (2 * plane) & 3) - 1) as f32;
                }
                out[128 * a + 32 * plane..][..32].copy_from_slice(&values);
            }
        }
    }
}

impl TritBlock for Blocks {
    const SHAPE: ScaledBlock = ScaledBlock { weights: 256, bytes: 66, scale_at: 64 };

    #[inline(always)]
    fn unpack(block: &[u8], out: &mut [i8]) -> bool {
        let halves = block.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<128>().0);
        halves.fold(false, |unused, (half, out)| unused | planes::unpack_block::<true>(half, out))
    }
}

impl WrittenBlock for Blocks {
    fn pack(trits: &[i8], out: &mut Vec<u8>) {
        for half in trits.chunks_exact(128) {
            planes::pack(32, |byte, plane| half[32 * plane + byte], out);
        }
    }
}
