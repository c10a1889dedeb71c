//! Q8_0 of llama.cpp: 32 weights in 34 bytes.
//!
//! ```text
//! d: f16 | codes: i8 × 32      value = d · code
//! ```
//!
//! Source of the layout: llama.cpp, `ggml-quants.c`.

use super::blocks::{array, half};
use super::stored::Format;
use crate::op::dense::Stored;
use crate::op::math::{f16_to_f32, f32_to_f16};

/// The format described in the module documentation.
pub static Q8_0: Format = Format { encode: Some(encode), ..Format::of_rows("q8_0", &[8], Blocks::BLOCK) };

pub(super) struct Blocks;

impl Stored for Blocks {
    const BLOCK: (usize, usize) = (32, 34);

    #[inline(always)]
    fn decode_block(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        let quants: [u8; 32] = array(&block[2..]);
        let mut values = [0.0; 32];
        for l in 0..32 {
            values[l] = f32::from(quants[l] as i8) * d;
        }
        out.copy_from_slice(&values);
    }
}

fn encode(values: &[f32], out: &mut [u8]) {
    for (values, out) in values.chunks_exact(32).zip(out.chunks_exact_mut(34)) {
        encode_block(values, out);
    }
}

/// Encodes 32 values: the largest becomes ±127 steps, and the error is at most half a step.
fn encode_block(values: &[f32], out: &mut [u8]) {
    let largest = values.iter().fold(0f32, |max, x| max.max(x.abs()));
    let mut half = f32_to_f16(largest / 127.0);
    // Steps below the smallest normal f16 are coarse: if the step was rounded down, 127 steps may not reach the largest
    // value.
    if largest > f16_to_f32(half) * 127.5 {
        half += 1;
    }
    let step = f16_to_f32(half);
    let (d, codes) = out.split_at_mut(2);
    d.copy_from_slice(&half.to_le_bytes());
    for (code, x) in codes.iter_mut().zip(values) {
        let steps = if step > 0.0 { x / step } else { 0.0 };
        *code = (steps.round_ties_even() as i8).max(-127).cast_unsigned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes a block and decodes it again.
    fn round_trip(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
        let (mut block, mut decoded) = (vec![0; 34], vec![0.0; 32]);
        encode(values, &mut block);
        Blocks::decode(&block, &mut decoded);
        (block, decoded)
    }

    #[test]
    fn decodes_to_within_half_a_step_at_every_size() {
        for exponent in -30..15 {
            let size = 2f32.powi(exponent);
            let values: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7 + exponent as f32).sin() * size).collect();
            let (block, decoded) = round_trip(&values);
            let step = f16_to_f32(u16::from_le_bytes([block[0], block[1]]));
            for (value, decoded) in values.iter().zip(&decoded) {
                assert!((value - decoded).abs() <= step * 0.5001, "2^{exponent}: {value} became {decoded}");
            }
            // The step is as fine as possible.
            let largest = values.iter().fold(0f32, |max, x| max.max(x.abs()));
            assert!(step <= (largest / 127.0 * 1.001).max(largest / 127.0 + 6e-8), "2^{exponent}: a step of {step}");
        }
    }

    #[test]
    fn values_on_the_grid_are_exact_and_stay_the_same_bytes() {
        for bits in [0x0001_u16, 0x0023, 0x0400, 0x1234, 0x2c01, 0x3bff, 0x5bf0] {
            let step = f16_to_f32(bits);
            let values: Vec<f32> = (0..32).map(|i| (i * 37 % 255 - 127) as f32 * step).collect();
            let (block, decoded) = round_trip(&values);
            assert_eq!(decoded, values, "a step of {step}");
            assert_eq!(block[..2], bits.to_le_bytes());
            assert_eq!(round_trip(&decoded).0, block);
        }
        assert_eq!(round_trip(&[0.0; 32]).0, [0; 34]);
    }
}
