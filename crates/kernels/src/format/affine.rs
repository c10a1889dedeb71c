//! MLX's packed weights: codes of a few bits; scales and biases are tensors of their own.
//!
//! ```text
//! weight = scale · code + bias      a scale and a bias for each group of columns in a row
//! ternary, 2 bits:  bias = −scale        code 0 1 2 is −1 0 +1 times the scale
//! binary,  1 bit:   bias = −scale / 2    code 0 1   is −1 +1   times half the scale
//! ```
//!
//! Other biases belong to ordinary models. Source: MLX, `mlx/ops.cpp` (`quantize`).

use super::blocks::group_scales;
use super::stored::{Affine, Decoder, Problem, Trits};
use crate::scales::Scales;

fn affine(trits: &Trits) -> Result<&Affine, Problem> {
    trits.affine().ok_or_else(|| Problem::Damaged("has no scales and biases".into()))
}

/// The scales of a matrix whose largest code is `largest`: 2 for ternary codes, 1 for binary ones.
pub(super) fn scales(trits: &Trits, largest: f32) -> Result<(Scales, f32), Problem> {
    let affine = affine(trits)?;
    let (scales, biases) = (affine.numbers(&affine.scales), affine.numbers(&affine.biases));
    let values: Vec<f32> = scales.iter().map(|scale| scale * largest / 2.0).collect();
    if let Some(i) = values.iter().zip(&biases).position(|(value, bias)| *bias != -value) {
        let row = i / (trits.cols() / affine.columns);
        return Err(Problem::Unsupported(
            format!(
                "row {row} has the scale {} and the bias {}: weights of an ordinary model, not ternary or binary ones,",
                scales[i], biases[i],
            ),
            "use a ternary model: its weights are −1, 0 and +1 times a scale",
        ));
    }
    Ok((group_scales(values, affine.columns), 1.0))
}

/// Decodes row `r`; `unpack` decodes the codes of a group, and returns whether one is no trit. A group with the scale 0
/// is zero whatever its codes.
pub(super) fn row(
    decoder: &Decoder<'_>,
    r: usize,
    out: &mut [i8],
    unpack: fn(&[u8], &mut [i8]) -> bool,
    problem: fn(usize) -> Problem,
) -> Result<(), Problem> {
    let affine = affine(decoder.trits())?;
    let groups = out.len() / affine.columns;
    let size = affine.scales.len() / decoder.trits().rows();
    let scales = affine.numbers(&affine.scales[r * size..][..size]);
    let codes = decoder.stored_row(r);
    let mut unused = false;
    for ((scale, codes), out) in
        scales.iter().zip(codes.chunks_exact(codes.len() / groups)).zip(out.chunks_exact_mut(affine.columns))
    {
        if *scale == 0.0 {
            out.fill(0);
        } else {
            unused |= unpack(codes, out);
        }
    }
    if unused { Err(problem(r)) } else { Ok(()) }
}
