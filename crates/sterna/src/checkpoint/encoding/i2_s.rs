//! bitnet.cpp's I2_S, x86 layout: the matrix is one stream of blocks of 128 weights in 32 bytes, the scale is its tail.
//!
//! ```text
//! byte p of block b:   bits 7…6       5…4            3…2            1…0
//!                      128b + p   128b + 32 + p  128b + 64 + p  128b + 96 + p      code = trit + 1
//! after n/4 bytes:     scale f32, 28 bytes of padding
//! ```
//!
//! A row that is no multiple of 128 starts inside a block. Source: bitnet.cpp, `ggml-bitnet-mad.cpp`.

use sterna_kernels::Pool;

use super::{Encoding, Problem, Scale, Trits, Writer, pack_planes, plane, planes};

/// See the module.
pub static I2_S: Encoding = Encoding { name: "i2_s", ggml_type: Some(36), bytes, scale, row, writer: Some(WRITER) };

/// Weights of a block.
const BLOCK: usize = 128;
/// Bytes after the codes: the scale and padding.
const TAIL: usize = 32;

const WRITER: Writer = Writer {
    rounded: |scale| scale,
    blocks: |trits, _, out| {
        for block in trits.chunks_exact(BLOCK) {
            pack_planes(BLOCK / 4, |byte, plane| block[32 * (3 - plane) + byte], out);
        }
    },
    tail: |scale| {
        let mut tail = vec![0; TAIL];
        tail[..4].copy_from_slice(&scale.to_le_bytes());
        tail
    },
};

fn bytes(rows: usize, cols: usize) -> Option<usize> {
    let weights = rows.checked_mul(cols)?;
    if weights.is_multiple_of(BLOCK) { (weights / 4).checked_add(TAIL) } else { None }
}

fn scale(trits: &Trits, _: &Pool) -> Result<Scale, Problem> {
    let tail = &trits.bytes[trits.bytes.len() - TAIL..];
    Ok(Scale { value: f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]), inverse: 1.0 })
}

fn row(trits: &Trits, _: Scale, r: usize, mut out: &mut [i8]) -> Result<(), Problem> {
    let mut at = r * trits.cols;
    if trits.cols.is_multiple_of(BLOCK) {
        let blocks = trits.bytes[at / 4..].as_chunks::<{ BLOCK / 4 }>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
            // Code 3 does not occur; bitnet.cpp's readers take it for 0 too.
            let _ = planes::<false>(block, out);
        }
        return Ok(());
    }
    while !out.is_empty() {
        let (block, group, first) = (at / BLOCK, at % BLOCK / 32, at % 32);
        let (run, rest) = out.split_at_mut(out.len().min(32 - first));
        let _ = plane(6 - 2 * group, &trits.bytes[32 * block + first..][..run.len()], run);
        at += run.len();
        out = rest;
    }
    Ok(())
}
