//! llama.cpp's TQ1_0: blocks of 256 weights in 54 bytes, five trits a byte.
//!
//! ```text
//! low: 48 bytes, five trits each | high: 4 bytes, four trits each | scale: f16
//! trit n of   low[m], m < 32       low[32 + m], m < 16     high[j], j < 4
//!   weight    32n + m              160 + 16n + m           240 + 4n + j
//! ```
//!
//! A byte is a fraction in base 3, rounded up: times 3ⁿ (wrapping) leaves trit n in front, and the carry of one more
//! multiplication by 3 is the code, trit + 1. Source: llama.cpp, `ggml-quants.c`.

use sterna_kernels::Pool;

use super::{Encoding, Problem, Scale, Trits, block_scale, block_scale_bits};

/// See the module.
pub static TQ1_0: Encoding = Encoding { name: "tq1_0", ggml_type: Some(34), bytes, scale, row, writer: None };

const BLOCK: usize = 256;
const BLOCK_BYTES: usize = 54;

fn bytes(rows: usize, cols: usize) -> Option<usize> {
    if cols.is_multiple_of(BLOCK) { (cols / BLOCK * BLOCK_BYTES).checked_mul(rows) } else { None }
}

fn scale(trits: &Trits, pool: &Pool) -> Result<Scale, Problem> {
    block_scale(trits, pool, BLOCK_BYTES)
}

fn row(trits: &Trits, _: Scale, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    for (block, out) in trits.stored_row(r).chunks_exact(BLOCK_BYTES).zip(out.chunks_exact_mut(BLOCK)) {
        if block_scale_bits(block) & 0x7fff == 0 {
            out.fill(0);
            continue;
        }
        let (first, rest) = out.split_at_mut(160);
        let (second, third) = rest.split_at_mut(80);
        digits(&block[..32], first);
        digits(&block[32..48], second);
        digits(&block[48..52], third);
    }
    Ok(())
}

/// Trit n of every byte, then trit n + 1 of every byte, until `out` is full.
fn digits(bytes: &[u8], out: &mut [i8]) {
    let mut power = 1u8;
    for out in out.chunks_exact_mut(bytes.len()) {
        for (out, byte) in out.iter_mut().zip(bytes) {
            let code = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
            *out = code as i8 - 1;
        }
        power = power.wrapping_mul(3);
    }
}
