//! Random trits for measurements, determined by a seed and the row: 42 % zeros, or none.
//!
//! A matrix is stored as its seed, eight bytes. The scale 1/√cols keeps the magnitude of the input; it is rounded to
//! f16, so that every format can store it. These formats do not occur in files, so they are not in the table of formats.

use super::stored::{Decoder, Format, Problem, Ternary, Trits};
use crate::op::math::{f16_to_f32, f32_to_f16};
use crate::pool::Pool;
use crate::random;
use crate::scales::Scales;

/// −1, 0, +1 with one scale, like BitNet's layers.
pub static SYNTHETIC: Format = format("synthetic", |trits, _| Ok((Scales::One(scale(trits)), 1.0)), row);

/// −1, 0, +1 with a scale for each group, like Ternary Bonsai's layers.
pub static SYNTHETIC_GROUPS: Format = format("synthetic-groups", groups, row);

/// −1, +1 with a scale for each group, like those of 1-bit Bonsai.
pub static SYNTHETIC_SIGNS: Format = format("synthetic-signs", groups, signs);

/// Columns in a group.
const COLUMNS: usize = 128;

type ReadScales = fn(&Trits, &Pool) -> Result<(Scales, f32), Problem>;
type ReadRow = fn(&Decoder<'_>, usize, &mut [i8]) -> Result<(), Problem>;

const fn format(name: &'static str, scales: ReadScales, row: ReadRow) -> Format {
    Format::of_tensors(name, |_, _| Some(8), Ternary { scales, row, writer: None })
}

fn scale(trits: &Trits) -> f32 {
    f16_to_f32(f32_to_f16((trits.cols() as f32).sqrt().recip()))
}

/// The scale times 1/2 to 5/4, in steps that f16 represents.
fn groups(trits: &Trits, _: &Pool) -> Result<(Scales, f32), Problem> {
    let least = scale(trits) / 2.0;
    let values = (0..trits.rows() * trits.cols().div_ceil(COLUMNS))
        .map(|group| f16_to_f32(f32_to_f16(least * (1.0 + (splitmix64(group as u64) % 7) as f32 / 4.0))));
    Ok((Scales::Groups { columns: COLUMNS, values: values.collect() }, 1.0))
}

/// 108 of 256 byte values become 0, the others ±1 by their lowest bit.
fn row(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    random_bytes(decoder, r, out, |byte| i8::from(byte >= 108) * sign(byte))
}

fn signs(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    random_bytes(decoder, r, out, sign)
}

fn sign(byte: u8) -> i8 {
    1 - 2 * (byte & 1) as i8
}

fn random_bytes(decoder: &Decoder<'_>, r: usize, out: &mut [i8], trit: fn(u8) -> i8) -> Result<(), Problem> {
    let seed = decoder.trits().bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let seed = splitmix64(seed ^ r as u64);
    for (i, out) in out.chunks_mut(8).enumerate() {
        for (out, byte) in out.iter_mut().zip(splitmix64(seed.wrapping_add(i as u64)).to_le_bytes()) {
            *out = trit(byte);
        }
    }
    Ok(())
}

/// The first number of SplitMix64's stream that begins `seed` steps after 0.
pub fn splitmix64(seed: u64) -> u64 {
    random::mix(seed.wrapping_mul(random::STEP).wrapping_add(random::STEP))
}
