//! bitnet.cpp's I2_S in x86 layout: one stream of blocks of 128 weights in 32 bytes for the whole matrix, followed by
//! the scale.
//!
//! ```text
//! byte p of block b:   bits 7…6       5…4            3…2            1…0
//!                      128b + p   128b + 32 + p  128b + 64 + p  128b + 96 + p      code = trit + 1
//! after n/4 bytes:     scale f32, 28 bytes of padding
//! ```
//!
//! A row whose length is not a multiple of 128 begins inside a block. Source: bitnet.cpp, `ggml-bitnet-mad.cpp`.

use super::planes;
use super::stored::{Decoder, Format, Problem, Ternary, Trits};
use super::writer::{Scaling, Writer};
use crate::pool::Pool;
use crate::scales::Scales;

/// The format described in the module documentation.
pub static I2_S: Format = Format {
    ggml: &[36],
    ..Format::of_tensors("i2_s", bytes, Ternary { scales, row: |d, r, out| row::<32>(d, r, out), writer: Some(WRITER) })
};

/// Weights in a block.
const BLOCK: usize = 128;
/// Bytes after the codes: scale and padding.
const TAIL: usize = 32;

const WRITER: Writer = Writer {
    scaling: Scaling::Matrix,
    zeros: true,
    rounded: |scale| scale,
    rows: |trits, _, out| {
        for block in trits.chunks_exact(BLOCK) {
            planes::pack(BLOCK / 4, |byte, plane| block[32 * (3 - plane) + byte], out);
        }
    },
    tail: |scale| {
        let mut tail = vec![0; TAIL];
        tail[..4].copy_from_slice(&scale.to_le_bytes());
        tail
    },
};

pub(super) fn bytes(rows: usize, cols: usize) -> Option<usize> {
    let weights = rows.checked_mul(cols)?;
    if weights.is_multiple_of(BLOCK) { (weights / 4).checked_add(TAIL) } else { None }
}

pub(super) fn scales(trits: &Trits, _: &Pool) -> Result<(Scales, f32), Problem> {
    let tail = &trits.bytes()[trits.bytes().len() - TAIL..];
    Ok((Scales::One(f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]])), 1.0))
}

/// Decodes row `r`. `PLANE` is the number of bytes in a block, which are four times as many weights.
pub(super) fn row<const PLANE: usize>(decoder: &Decoder<'_>, r: usize, mut out: &mut [i8]) -> Result<(), Problem> {
    let (bytes, cols) = (&decoder.trits().bytes()[..], decoder.trits().cols());
    let mut at = r * cols;
    if PLANE == BLOCK / 4 && cols.is_multiple_of(BLOCK) {
        let blocks = bytes[at / 4..].as_chunks::<{ BLOCK / 4 }>().0;
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
            // Code 3 is not used; bitnet.cpp also reads it as 0.
            let _ = planes::unpack_block::<false>(block, out);
        }
        return Ok(());
    }
    while !out.is_empty() {
        let (block, group, first) = (at / (4 * PLANE), at / PLANE % 4, at % PLANE);
        let (run, rest) = out.split_at_mut(out.len().min(PLANE - first));
        let _ = planes::unpack(6 - 2 * group, &bytes[PLANE * block + first..][..run.len()], run);
        at += run.len();
        out = rest;
    }
    Ok(())
}
