//! llama.cpp's TQ2_0: blocks of 256 weights in 66 bytes.
//!
//! ```text
//! codes: 64 bytes | scale: f16
//! byte 32a + m (a < 2, m < 32):   bits 7…6         5…4            3…2            1…0
//!                                 128a + 96 + m  128a + 64 + m  128a + 32 + m  128a + m      code = trit + 1
//! ```
//!
//! Source: llama.cpp, `ggml-quants.c`.

use sterna_kernels::Pool;
use sterna_kernels::math::{f16_to_f32, f32_to_f16};

use super::{Encoding, Problem, Scale, Trits, Writer, block_scale, block_scale_bits, pack_planes, planes, unused_code};

/// See the module.
pub static TQ2_0: Encoding = Encoding { name: "tq2_0", ggml_type: Some(35), bytes, scale, row, writer: Some(WRITER) };

/// Weights of a block.
const BLOCK: usize = 256;
/// Bytes of a block.
const BLOCK_BYTES: usize = 66;

const WRITER: Writer = Writer {
    rounded: |scale| f16_to_f32(f32_to_f16(scale)),
    blocks: |trits, scale, out| {
        for block in trits.chunks_exact(BLOCK) {
            for half in block.chunks_exact(BLOCK / 2) {
                pack_planes(32, |byte, plane| half[32 * plane + byte], out);
            }
            let zero = block.iter().all(|trit| *trit == 0);
            out.extend(f32_to_f16(if zero { 0.0 } else { scale }).to_le_bytes());
        }
    },
    tail: |_| Vec::new(),
};

fn bytes(rows: usize, cols: usize) -> Option<usize> {
    if cols.is_multiple_of(BLOCK) { (cols / BLOCK * BLOCK_BYTES).checked_mul(rows) } else { None }
}

fn scale(trits: &Trits, pool: &Pool) -> Result<Scale, Problem> {
    block_scale(trits, pool, BLOCK_BYTES)
}

fn row(trits: &Trits, _: Scale, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    let mut unused = false;
    for (block, out) in trits.stored_row(r).chunks_exact(BLOCK_BYTES).zip(out.chunks_exact_mut(BLOCK)) {
        if block_scale_bits(block) & 0x7fff == 0 {
            out.fill(0);
            continue;
        }
        for (half, out) in block.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<128>().0) {
            unused |= planes::<true>(half, out);
        }
    }
    if unused { Err(unused_code(r)) } else { Ok(()) }
}
