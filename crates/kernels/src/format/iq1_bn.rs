//! ik_llama.cpp's IQ1_BN: rows of a scale and bytes of five trits.
//!
//! ```text
//! row:                             d: f16 | 13 bytes for every 64 weights
//! byte 3g + k (g < 4, k < 3):      the weights 16g + 5k … 16g + 5k + 4, trit j is digit j
//! byte 12:                         the weights 16g + 15, trit g is digit g
//! ```
//!
//! A byte is the fraction 0.edcba (base 3) times 256, rounded up; digit 0, a, is the last. Source: ik_llama.cpp,
//! `iqk_quantize.cpp`.

use super::base3;
use super::blocks::{half, row_scales};
use super::stored::{Decoder, Format, Problem, Ternary, Trits};
use crate::pool::Pool;
use crate::scales::Scales;

/// The format described in the module documentation.
pub static IQ1_BN: Format =
    Format { ggml: &[134], ..Format::of_tensors("iq1_bn", bytes, Ternary { scales, row, writer: None }) };

fn bytes(rows: usize, cols: usize) -> Option<usize> {
    if cols.is_multiple_of(64) { (cols / 64).checked_mul(13)?.checked_add(2)?.checked_mul(rows) } else { None }
}

fn scales(trits: &Trits, _: &Pool) -> Result<(Scales, f32), Problem> {
    Ok((row_scales((0..trits.rows()).map(|r| half(trits.stored_row(r))).collect()), 1.0))
}

/// Digit `n` of a byte, as a trit.
fn digit(byte: u8, n: usize) -> i8 {
    const POWERS: [u8; 5] = [81, 27, 9, 3, 1];
    base3::trit(byte, POWERS[n])
}

fn row(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    let stored = decoder.stored_row(r);
    if half(stored) == 0.0 {
        out.fill(0);
        return Ok(());
    }
    for (bytes, out) in stored[2..].chunks_exact(13).zip(out.chunks_exact_mut(64)) {
        for (g, out) in out.chunks_exact_mut(16).enumerate() {
            for (l, out) in out.iter_mut().enumerate() {
                *out = if l < 15 { digit(bytes[3 * g + l / 5], l % 5) } else { digit(bytes[12], g) };
            }
        }
    }
    Ok(())
}
