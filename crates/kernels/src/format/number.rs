//! Plain number formats: their values, and rounding of full-precision weights ("master weights") to trits as in
//! training: `m = max(mean |W|, 1e-5)`, `trit = clamp(round(W / m), −1, 1)`.
//!
//! Weights that are already ternary (only 0 and ±a, in the whole matrix, in each row or in each group of columns) keep
//! their trits and their scales `a`; the mean would shrink them by the share of zeros. Source: `transformers`,
//! `integrations/bitnet.py` (`WeightQuant`).

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::stored::{Decoder, Format, Layout, Problem, Ternary, Trits};
use crate::op::dense::Plain;
use crate::pool::Pool;
use crate::scales::Scales;

/// A number format.
pub(super) trait Number: Plain {
    /// Reads a number. The result is finite if and only if the stored number is.
    #[inline(always)]
    fn value(bytes: &[u8]) -> f32 {
        Self::number(bytes)
    }

    /// Stores the nearest number.
    fn store(value: f32, out: &mut [u8]);
}

/// The table row of a number format.
pub(super) const fn format<N: Number>(name: &'static str, ggml: &'static [u32], safetensors: &'static str) -> Format {
    Format {
        name,
        ggml,
        safetensors: Some(safetensors),
        layout: Layout::Rows(1, N::BYTES),
        numbers: Some(numbers::<N>),
        encode: Some(encode::<N>),
        ternary: Some(Ternary { scales: scales::<N>, row: trits::<N>, writer: None }),
    }
}

fn numbers<N: Number>(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(N::BYTES).map(N::value).collect()
}

fn encode<N: Number>(values: &[f32], out: &mut [u8]) {
    for (value, out) in values.iter().zip(out.chunks_exact_mut(N::BYTES)) {
        N::store(*value, out);
    }
}

/// Statistics of a row for computing the scale.
#[derive(Clone, Copy, Default)]
struct Survey {
    /// Σ |w|; not finite if any weight is not finite.
    sum: f64,
    /// max |w|
    largest: f32,
    /// Whether only 0 and ±`largest` occur.
    ternary: bool,
}

fn scales<N: Number>(trits: &Trits, pool: &Pool) -> Result<(Scales, f32), Problem> {
    let mut rows = vec![Survey::default(); trits.rows()];
    pool.pieces(&mut rows, 1, |r, out| out[0] = survey::<N>(trits.stored_row(r)));
    let sum: f64 = rows.iter().map(|row| row.sum).sum();
    if !sum.is_finite() {
        return Err(Problem::Damaged("contains weights that are not finite".into()));
    }
    let largest = rows.iter().fold(0f32, |max, row| max.max(row.largest));
    if largest > 0.0 && rows.iter().all(|row| row.ternary) {
        let one = rows.iter().all(|row| row.largest == 0.0 || row.largest == largest);
        let scales =
            if one { Scales::One(largest) } else { Scales::Rows(rows.iter().map(|row| row.largest).collect()) };
        // Every value that is not 0 becomes ±1.
        return Ok((scales, f32::INFINITY));
    }
    let groups = || [256, 128, 64].into_iter().find_map(|columns| groups::<N>(trits, columns, pool));
    if let Some(groups) = (largest > 0.0).then(groups).flatten() {
        return Ok((groups, f32::INFINITY));
    }
    if !trits.quantizes() {
        return Err(Problem::Unsupported(
            "full-precision weights that are not ternary, in a checkpoint that is not declared as a BitNet model"
                .into(),
            "use a model trained with ternary weights (its config.json has quantization_config.quant_method \"bitnet\")",
        ));
    }
    let mean = ((sum / (trits.rows() * trits.cols()) as f64) as f32).max(1e-5);
    let inverse = 1.0 / mean;
    Ok((Scales::One(1.0 / inverse), inverse))
}

/// The scales of weights that are ternary in groups of `columns` columns; `None` if they are not. Stops soon after the
/// first group that is not ternary.
fn groups<N: Number>(trits: &Trits, columns: usize, pool: &Pool) -> Option<Scales> {
    let ordinary = AtomicBool::new(trits.cols() <= columns);
    let groups = trits.cols().div_ceil(columns);
    let mut values = vec![0f32; trits.rows() * groups];
    pool.pieces(&mut values, groups, |r, out| {
        for (out, group) in out.iter_mut().zip(trits.stored_row(r).chunks(columns * N::BYTES)) {
            match magnitude::<N>(group) {
                _ if ordinary.load(Relaxed) => return,
                Some(value) => *out = value,
                None => ordinary.store(true, Relaxed),
            }
        }
    });
    (!ordinary.into_inner()).then_some(Scales::Groups { columns, values })
}

/// The magnitude of the weights that are not 0; `None` if there are several. Two neighbouring numbers count as one, the
/// larger, because products with the scale may have been rounded.
fn magnitude<N: Number>(weights: &[u8]) -> Option<f32> {
    // Magnitudes are in the order of their bits.
    let bits = || weights.chunks_exact(N::BYTES).map(magnitude_bits);
    let largest = bits().max().unwrap_or(0);
    let value = |bits: u32| N::value(&bits.to_le_bytes()[..N::BYTES]);
    let below = largest.saturating_sub(1);
    let least = if value(below) > 0.99 * value(largest) { below } else { largest };
    bits().all(|bits| bits == 0 || bits >= least).then(|| value(largest))
}

/// The bits of a number without its sign.
fn magnitude_bits(bytes: &[u8]) -> u32 {
    match *bytes {
        [a, b] => u32::from(u16::from_le_bytes([a, b]) & 0x7fff),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]) & 0x7fff_ffff,
        _ => u32::MAX,
    }
}

fn survey<N: Number>(row: &[u8]) -> Survey {
    /// Number of parallel sums, folded in a fixed order so that the mean is the same on every machine.
    const LANES: usize = 8;
    let mut sums = [0f64; LANES];
    let mut largest = [0f32; LANES];
    let mut chunks = row.chunks_exact(LANES * N::BYTES);
    for chunk in chunks.by_ref() {
        for (i, bytes) in chunk.chunks_exact(N::BYTES).enumerate() {
            let magnitude = N::value(bytes).abs();
            sums[i] += f64::from(magnitude);
            largest[i] = if magnitude > largest[i] { magnitude } else { largest[i] };
        }
    }
    for (i, bytes) in chunks.remainder().chunks_exact(N::BYTES).enumerate() {
        let magnitude = N::value(bytes).abs();
        sums[i] += f64::from(magnitude);
        largest[i] = largest[i].max(magnitude);
    }
    let largest = largest.into_iter().fold(0f32, f32::max);
    let ternary = row.chunks_exact(N::BYTES).all(|bytes| {
        let magnitude = N::value(bytes).abs();
        magnitude == 0.0 || magnitude == largest
    });
    Survey { sum: sums.iter().sum(), largest, ternary }
}

fn trits<N: Number>(decoder: &Decoder<'_>, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    for (out, bytes) in out.iter_mut().zip(decoder.stored_row(r).chunks_exact(N::BYTES)) {
        // Rounding half to even and clamping to ±1 equals a comparison with one half, which itself rounds to 0.
        let w = N::value(bytes) * decoder.inverse;
        *out = i8::from(w > 0.5) - i8::from(w < -0.5);
    }
    Ok(())
}
