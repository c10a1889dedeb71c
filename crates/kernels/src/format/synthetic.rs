//! Random trits for measurements: 42 % zeros, determined by a seed and the row.
//!
//! A matrix is stored as its seed, eight bytes. The scale 1/√cols keeps the magnitude of the input; it is rounded to
//! f16, so that every format can store it.

use super::stored::{Decoder, Format, Problem, Ternary, Trits};
use crate::op::math::{f16_to_f32, f32_to_f16};
use crate::pool::Pool;
use crate::random;
use crate::scales::Scales;

/// The format described in the module documentation. It does not occur in files, so it is not in the table of formats.
pub static SYNTHETIC: Format = Format::of_tensors("synthetic", |_, _| Some(8), Ternary { scales, row, writer: None });

fn scales(trits: &Trits, _: &Pool) -> Result<(Scales, f32), Problem> {
    Ok((Scales::One(f16_to_f32(f32_to_f16((trits.cols() as f32).sqrt().recip()))), 1.0))
}

/// 108 of 256 byte values become 0, the others ±1 by their lowest bit.
fn row(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    let seed = decoder.trits().bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let seed = splitmix64(seed ^ r as u64);
    for (i, out) in out.chunks_mut(8).enumerate() {
        for (out, byte) in out.iter_mut().zip(splitmix64(seed.wrapping_add(i as u64)).to_le_bytes()) {
            *out = i8::from(byte >= 108) * (1 - 2 * (byte & 1) as i8);
        }
    }
    Ok(())
}

/// The first number of SplitMix64's stream that begins `seed` steps after 0.
pub fn splitmix64(seed: u64) -> u64 {
    random::mix(seed.wrapping_mul(random::STEP).wrapping_add(random::STEP))
}
