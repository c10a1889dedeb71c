//! Q6_K of llama.cpp: 256 weights in 210 bytes.
//!
//! ```text
//! low nibbles × 128 | high pairs of bits × 64 | scales: i8 × 16 | d: f16      value = d · scale · (q − 32)
//! ```
//!
//! In each half of 128 weights, byte l < 32 of the high bits and bytes l and l + 32 of the low ones hold the weights l,
//! l + 32, l + 64 and l + 96. Source of the layout: llama.cpp, `ggml-quants.c`.

use super::blocks::{array, half};
use super::stored::Format;
use crate::op::dense::Stored;
use crate::op::math::{f16_to_f32, f32_to_f16};

/// The format described in the module documentation.
pub static Q6_K: Format = Format { encode: Some(encode), ..Format::of_rows("q6_k", &[14], Blocks::BLOCK) };

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (256, 210);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let d = half(&block[208..]);
        for run in 0..8 {
            let (part, quarter) = (run / 4, run % 4);
            let low: [u8; 32] = array(&block[64 * part + 32 * (quarter % 2)..]);
            let high: [u8; 32] = array(&block[128 + 32 * part..]);
            let (low_shift, high_shift) = (4 * (quarter / 2), 2 * quarter);
            // Computed in bytes first: a vector holds four times as many.
            let mut quants = [0u8; 32];
            for l in 0..32 {
                quants[l] = low[l] >> low_shift & 15 | (high[l] >> high_shift & 3) << 4;
            }
            let mut values = [0.0; 32];
            for side in 0..2 {
                let scale = d * f32::from(block[192 + 8 * part + 2 * quarter + side] as i8);
                for l in 16 * side..16 * (side + 1) {
                    values[l] = scale * (i32::from(quants[l]) - 32) as f32;
                }
            }
            out[32 * run..32 * (run + 1)].copy_from_slice(&values);
        }
    }
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (values, out) in values.chunks_exact(256).zip(out.chunks_exact_mut(210)) {
        encode_block(values, out);
    }
}

/// Encodes 256 values. Each run of 16 is scaled so that its largest value is −32 steps.
fn encode_block(values: &[f32], out: &mut [u8]) {
    out.fill(0);
    let mut steps = [0f32; 16];
    for (step, run) in steps.iter_mut().zip(values.chunks_exact(16)) {
        *step = largest(run) / -32.0;
    }
    // The largest step is stored as −128, because i8 reaches one further on the negative side.
    let half = f32_to_f16(largest(&steps) / -128.0);
    let d = f16_to_f32(half);
    out[208..210].copy_from_slice(&half.to_le_bytes());
    if d == 0.0 {
        return;
    }
    for (i, (step, run)) in steps.iter().zip(values.chunks_exact(16)).enumerate() {
        let scale = (step / d).round_ties_even().clamp(-128.0, 127.0) as i8;
        out[192 + i] = scale.cast_unsigned();
        let inverse = if scale == 0 { 0.0 } else { 1.0 / (d * f32::from(scale)) };
        for (j, x) in run.iter().enumerate() {
            let q = ((x * inverse).round_ties_even().clamp(-32.0, 31.0) + 32.0) as u8;
            put(out, 16 * i + j, q);
        }
    }
}

/// The value with the largest magnitude, with its sign.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, x| if x.abs() > f32::abs(max) { *x } else { max })
}

/// Stores the 6 bits of weight `i`.
fn put(out: &mut [u8], i: usize, q: u8) {
    let (half, quarter, l) = (i / 128, i % 128 / 32, i % 32);
    out[64 * half + 32 * (quarter % 2) + l] |= (q & 15) << (4 * (quarter / 2));
    out[128 + 32 * half + l] |= q >> 4 << (2 * quarter);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes a block and decodes it again.
    fn round_trip(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
        // Earlier contents of the buffer must not matter.
        let (mut block, mut decoded) = (vec![7; 210], vec![0.0; 256]);
        encode(values, &mut block);
        Blocks::decode(&block, &mut decoded);
        (block, decoded)
    }

    #[test]
    fn decodes_to_within_a_step() {
        let values: Vec<f32> = (0..256).map(|i| (i as f32 * 0.7).sin() * (1.0 + i as f32 / 64.0)).collect();
        for (i, (value, decoded)) in values.iter().zip(round_trip(&values).1).enumerate() {
            let step = largest(&values[i / 16 * 16..i / 16 * 16 + 16]).abs() / 32.0;
            assert!((value - decoded).abs() <= step * 1.05, "{i}: {value} became {decoded}");
        }
    }

    #[test]
    fn values_on_the_grid_are_exact_and_stay_the_same_bytes() {
        // The first run has the largest step, stored as the scale −128; each run has a value of −32 steps.
        let d = 2f32.powi(-10);
        let scales: Vec<f32> = (0..16).map(|run| if run == 0 { -128.0 } else { (8 * run - 61) as f32 }).collect();
        let steps = |i: usize| if i % 16 == 5 { -32.0 } else { (i * 29 % 64) as f32 - 32.0 };
        let values: Vec<f32> = (0..256).map(|i| d * scales[i / 16] * steps(i)).collect();
        let (block, decoded) = round_trip(&values);
        assert_eq!(decoded, values);
        assert_eq!(block[208..], f32_to_f16(d).to_le_bytes());
        assert_eq!(round_trip(&decoded).0, block);
    }

    #[test]
    fn zeros_are_exact_alone_and_beside_others() {
        let (block, decoded) = round_trip(&[0.0; 256]);
        assert_eq!((&block[..208], decoded), (&[0; 208][..], vec![0.0; 256]));
        let mut values = [0.0; 256];
        values[200] = -3.0;
        assert_eq!(round_trip(&values).1, values);
    }
}
