//! llama.cpp's TQ2_0: blocks of 256 weights in 66 bytes.
//!
//! ```text
//! codes: 64 bytes | scale: f16
//! byte 32a + m (a < 2, m < 32):   bits 7…6         5…4            3…2            1…0
//!                                 128a + 96 + m  128a + 64 + m  128a + 32 + m  128a + m      code = trit + 1
//! ```
//!
//! Source: llama.cpp, `ggml-quants.c`.

use super::blocks::{ScaledBlock, array, half};
use super::planes;
use super::stored::{Decoder, Format, Problem, Ternary, Writer, unused_code};
use crate::op::dense::Stored;
use crate::op::math::{f16_to_f32, f32_to_f16};

/// The format described in the module documentation.
pub static TQ2_0: Format = Format {
    ternary: Some(Ternary { scales: |trits, pool| Ok((BLOCK.scales(trits, pool)?, 1.0)), row, writer: Some(WRITER) }),
    ..Format::of_rows("tq2_0", &[35], Blocks::BLOCK)
};

const BLOCK: ScaledBlock = ScaledBlock { weights: 256, bytes: 66, scale_at: 64 };

const WRITER: Writer = Writer {
    rounded: |scale| f16_to_f32(f32_to_f16(scale)),
    blocks: |trits, scale, out| {
        for block in trits.chunks_exact(BLOCK.weights) {
            for half in block.chunks_exact(BLOCK.weights / 2) {
                planes::pack(32, |byte, plane| half[32 * plane + byte], out);
            }
            let zero = block.iter().all(|trit| *trit == 0);
            out.extend(f32_to_f16(if zero { 0.0 } else { scale }).to_le_bytes());
        }
    },
    tail: |_| Vec::new(),
};

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (BLOCK.weights, BLOCK.bytes);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let d = half(&block[BLOCK.scale_at..]);
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

fn row(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    let mut unused = false;
    for (block, out) in decoder.stored_row(r).chunks_exact(BLOCK.bytes).zip(out.chunks_exact_mut(BLOCK.weights)) {
        if BLOCK.is_zero(block) {
            out.fill(0);
            continue;
        }
        for (half, out) in block.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<128>().0) {
            unused |= planes::unpack_block::<true>(half, out);
        }
    }
    if unused { Err(unused_code(r)) } else { Ok(()) }
}
