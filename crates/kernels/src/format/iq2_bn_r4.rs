//! ik_llama.cpp's IQ2_BN_R4: IQ2_BN with four rows interleaved.
//!
//! ```text
//! four rows:         4 scales: f32 | 64 bytes for every 64 columns
//! byte 16l + 4k + i: bits 2b + 1 … 2b      row k, column 16l + 4b + i (b, i, k, l < 4), code = trit + 1
//! ```
//!
//! Source: ik_llama.cpp, `iqk_quantize.cpp`.

use super::blocks::{array, row_scales};
use super::stored::{Decoder, Format, Problem, Ternary, Trits, unused_code};
use crate::pool::Pool;
use crate::scales::Scales;

/// The format described in the module documentation.
pub static IQ2_BN_R4: Format =
    Format { ggml: &[335], ..Format::of_tensors("iq2_bn_r4", bytes, Ternary { scales, row, writer: None }) };

fn bytes(rows: usize, cols: usize) -> Option<usize> {
    let whole = rows.is_multiple_of(4) && cols.is_multiple_of(64);
    if whole { (cols / 4).checked_add(4)?.checked_mul(rows) } else { None }
}

/// The four rows that hold row `r`.
fn quad(trits: &Trits, r: usize) -> &[u8] {
    let len = trits.cols() + 16;
    &trits.bytes()[r / 4 * len..][..len]
}

fn scale(trits: &Trits, r: usize) -> f32 {
    f32::from_le_bytes(array(&quad(trits, r)[4 * (r % 4)..]))
}

fn scales(trits: &Trits, _: &Pool) -> Result<(Scales, f32), Problem> {
    Ok((row_scales((0..trits.rows()).map(|r| scale(trits, r)).collect()), 1.0))
}

fn row(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    let trits = decoder.trits();
    if scale(trits, r) == 0.0 {
        out.fill(0);
        return Ok(());
    }
    let (bytes, k) = (&quad(trits, r)[16..], r % 4);
    let mut unused = false;
    for (bytes, out) in bytes.chunks_exact(16).zip(out.as_chunks_mut::<16>().0) {
        for (column, out) in out.iter_mut().enumerate() {
            let code = bytes[4 * k + column % 4] >> (2 * (column / 4)) & 3;
            unused |= code == 3;
            *out = code as i8 - 1;
        }
    }
    if unused { Err(unused_code(r)) } else { Ok(()) }
}
