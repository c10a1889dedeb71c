//! The normalised Walsh–Hadamard transform of the blocks of a row.
//!
//! `H[r][c] = (−1)^popcount(r & c) / sqrt(B)` for blocks of B values. It is computed by log2 B steps of butterflies: pairs
//! at distance 1, then 2, 4, … B/2 become their sum and difference; then everything is scaled.
//!
//! Source: `prism.hadamard.*` in the loader of PrismML's llama.cpp.

use super::vector::{LANES, Lanes};

/// Whether a row divides into blocks that the transform supports.
pub(crate) fn fits(x: &[f32], signs: &[f32], block: usize) -> bool {
    block.is_power_of_two() && block >= LANES && x.len().is_multiple_of(block) && signs.len() == x.len()
}

/// `x = H(signs · x)`
#[inline(always)]
pub(crate) fn forward(x: &mut [f32], signs: &[f32], block: usize) {
    multiply(x, signs);
    transform(x, block);
}

/// `x = signs · H(x)`, the inverse of [`forward`] for signs of ±1.
#[inline(always)]
pub(crate) fn inverse(x: &mut [f32], signs: &[f32], block: usize) {
    transform(x, block);
    multiply(x, signs);
}

#[inline(always)]
fn multiply(x: &mut [f32], signs: &[f32]) {
    for (x, sign) in x.iter_mut().zip(signs) {
        *x *= sign;
    }
}

/// Butterflies of values at distance `H` within 16 lanes.
#[inline(always)]
fn within<const H: usize>(x: &Lanes) -> Lanes {
    let mut out = [0.0; LANES];
    for i in 0..LANES {
        out[i] = if i & H == 0 { x[i] + x[i ^ H] } else { x[i ^ H] - x[i] };
    }
    out
}

#[inline(always)]
fn transform(x: &mut [f32], block: usize) {
    let scale = (1.0 / (block as f64).sqrt()) as f32;
    for x in x.chunks_exact_mut(block) {
        for lanes in x.as_chunks_mut::<LANES>().0 {
            *lanes = within::<8>(&within::<4>(&within::<2>(&within::<1>(lanes))));
        }
        let mut distance = LANES;
        while distance < block {
            for pair in x.chunks_exact_mut(2 * distance) {
                let (low, high) = pair.split_at_mut(distance);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            distance *= 2;
        }
        for x in x {
            *x *= scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_multiplied_by_the_matrix() {
        let (block, len) = (32, 64);
        let row: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7).sin()).collect();
        let signs: Vec<f32> = (0..len).map(|i| if i % 3 == 0 { -1.0 } else { 1.0 }).collect();
        let mut x = row.clone();
        forward(&mut x, &signs, block);
        for (r, x) in x.iter().enumerate() {
            let first = r / block * block;
            let entry = |c: usize| if (r & c).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
            let sum: f32 = (0..block).map(|c| entry(c) * signs[first + c] * row[first + c]).sum();
            assert!((x - sum / (block as f32).sqrt()).abs() < 1e-5, "row {r}");
        }
        inverse(&mut x, &signs, block);
        assert!(x.iter().zip(&row).all(|(a, b)| (a - b).abs() < 1e-6), "the inverse");
    }
}
