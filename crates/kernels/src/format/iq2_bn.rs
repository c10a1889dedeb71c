//! ik_llama.cpp's IQ2_BN: rows of a scale and 2-bit codes.
//!
//! ```text
//! row:               d: f32 | 16 bytes for every 64 weights
//! byte j < 16:       bits 7…6   5…4    3…2      1…0
//!                    j + 48    j + 32  j + 16    j        code = trit + 1
//! ```
//!
//! Source: ik_llama.cpp, `iqk_quantize.cpp`.

use super::blocks::{array, row_scales};
use super::planes;
use super::stored::{Decoder, Format, Problem, Ternary, Trits, unused_code};
use super::writer::{Scaling, Writer};
use crate::pool::Pool;
use crate::scales::Scales;

/// The format described in the module documentation.
pub static IQ2_BN: Format =
    Format { ggml: &[135], ..Format::of_tensors("iq2_bn", bytes, Ternary { scales, row, writer: Some(WRITER) }) };

const WRITER: Writer = Writer {
    scaling: Scaling::Rows,
    zeros: true,
    rounded: |scale| scale,
    rows: |trits, scales, out| {
        for (row, scale) in trits.chunks_exact(trits.len() / scales.len()).zip(scales) {
            out.extend(scale.to_le_bytes());
            for block in row.as_chunks::<64>().0 {
                planes::pack(16, |byte, plane| block[16 * plane + byte], out);
            }
        }
    },
    tail: |_| Vec::new(),
};

fn bytes(rows: usize, cols: usize) -> Option<usize> {
    if cols.is_multiple_of(64) { (cols / 4).checked_add(4)?.checked_mul(rows) } else { None }
}

fn scales(trits: &Trits, _: &Pool) -> Result<(Scales, f32), Problem> {
    let scale = |r| f32::from_le_bytes(array(trits.stored_row(r)));
    Ok((row_scales((0..trits.rows()).map(scale).collect()), 1.0))
}

fn row(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    let stored = decoder.stored_row(r);
    if f32::from_le_bytes(array(stored)) == 0.0 {
        out.fill(0);
        return Ok(());
    }
    let mut unused = false;
    for (bytes, out) in stored[4..].chunks_exact(16).zip(out.chunks_exact_mut(64)) {
        for (plane, out) in out.chunks_exact_mut(16).enumerate() {
            unused |= planes::unpack(2 * plane, bytes, out);
        }
    }
    if unused { Err(unused_code(r)) } else { Ok(()) }
}
