//! Full-precision weights ("master weights"), rounded to trits when loaded as training did it:
//! `m = max(mean |W|, 1e-5)`, `trit = clamp(round(W / m), −1, 1)`.
//!
//! Weights that are ternary already (only 0 and ±a) keep their trits and their `a`: the mean would shrink it by the
//! share of zeros. Source: `transformers`, `integrations/bitnet.py` (`WeightQuant`).

use sterna_kernels::Pool;
use sterna_kernels::math::f16_to_f32;

use super::{Encoding, Problem, SEVERAL_SCALES, Scale, Trits};

/// IEEE single.
pub static F32: Encoding = encoding::<Single>("f32", 0);
/// IEEE half.
pub static F16: Encoding = encoding::<Half>("f16", 1);
/// bfloat16.
pub static BF16: Encoding = encoding::<Brain>("bf16", 30);

const fn encoding<N: Number>(name: &'static str, ggml_type: u32) -> Encoding {
    Encoding { name, ggml_type: Some(ggml_type), bytes: bytes::<N>, scale: scale::<N>, row: row::<N>, writer: None }
}

/// A number format; `value` is not finite exactly if the stored number is not.
trait Number {
    const BYTES: usize;
    fn value(bytes: &[u8]) -> f32;
}

struct Single;
struct Half;
struct Brain;

impl Number for Single {
    const BYTES: usize = 4;
    #[inline(always)]
    fn value(b: &[u8]) -> f32 {
        f32::from_le_bytes([b[0], b[1], b[2], b[3]])
    }
}

impl Number for Half {
    const BYTES: usize = 2;
    #[inline(always)]
    fn value(b: &[u8]) -> f32 {
        let bits = u16::from_le_bytes([b[0], b[1]]);
        if bits & 0x7c00 == 0x7c00 { f32::NAN } else { f16_to_f32(bits) }
    }
}

impl Number for Brain {
    const BYTES: usize = 2;
    #[inline(always)]
    fn value(b: &[u8]) -> f32 {
        f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)
    }
}

/// What the scale needs to know of a row.
#[derive(Clone, Copy, Default)]
struct Row {
    /// Σ |w|; not finite if a weight is not.
    sum: f64,
    /// max |w|
    largest: f32,
    /// Only 0 and ±`largest` occur.
    ternary: bool,
}

fn bytes<N: Number>(rows: usize, cols: usize) -> Option<usize> {
    rows.checked_mul(cols)?.checked_mul(N::BYTES)
}

fn scale<N: Number>(trits: &Trits, pool: &Pool) -> Result<Scale, Problem> {
    let mut rows = vec![Row::default(); trits.rows];
    pool.pieces(&mut rows, 1, |r, out| out[0] = survey::<N>(trits.stored_row(r)));
    let sum: f64 = rows.iter().map(|row| row.sum).sum();
    if !sum.is_finite() {
        return Err(Problem::Damaged("holds weights that are not finite".into()));
    }
    let largest = rows.iter().fold(0f32, |max, row| max.max(row.largest));
    if largest > 0.0 && rows.iter().all(|row| row.ternary) {
        return if rows.iter().all(|row| row.largest == 0.0 || row.largest == largest) {
            Ok(Scale { value: largest, inverse: 1.0 / largest })
        } else {
            Err(Problem::Unsupported("ternary weights with several scales in one tensor".into(), SEVERAL_SCALES))
        };
    }
    if !trits.quantize {
        return Err(Problem::Unsupported(
            "full-precision weights that are not ternary, in a checkpoint that does not say it is a BitNet model"
                .into(),
            "use a model trained with ternary weights (its config.json has quantization_config.quant_method \"bitnet\")",
        ));
    }
    let mean = ((sum / (trits.rows * trits.cols) as f64) as f32).max(1e-5);
    let inverse = 1.0 / mean;
    Ok(Scale { value: 1.0 / inverse, inverse })
}

fn survey<N: Number>(row: &[u8]) -> Row {
    /// Sums side by side, folded in a fixed order: the mean is the same on every machine.
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
    Row { sum: sums.iter().sum(), largest, ternary }
}

fn row<N: Number>(trits: &Trits, scale: Scale, r: usize, out: &mut [i8]) -> Result<(), Problem> {
    for (out, bytes) in out.iter_mut().zip(trits.stored_row(r).chunks_exact(N::BYTES)) {
        // Rounding half to even and clamping to ±1 is a comparison with one half, which itself rounds to 0.
        let w = N::value(bytes) * scale.inverse;
        *out = i8::from(w > 0.5) - i8::from(w < -0.5);
    }
    Ok(())
}
