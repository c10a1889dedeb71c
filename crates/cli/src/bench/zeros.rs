//! Simulated zeros of a gate (`--gate-zeros`), for models without trained weights.

use std::sync::Arc;

use sterna::model::GateHook;

/// Makes a pseudo-random choice of each gate zero, this share of it, and the rest positive. The choice is a function of
/// the gate's values, so it differs between tokens and layers, and is the same however the gate was computed.
pub fn simulated(share: f64) -> GateHook {
    // Saturates: a share of 1 leaves one value in 2³².
    let below = (share * 2f64.powi(32)) as u32;
    Arc::new(move |gate| {
        let seed = gate.iter().fold(0, |seed, value| mix(seed ^ value.to_bits()));
        for (j, value) in (0u32..).zip(gate) {
            *value = if mix(seed.wrapping_add(j)) < below { 0.0 } else { value.abs() };
        }
    })
}

/// The finaliser of MurmurHash3 (Austin Appleby, public domain).
fn mix(x: u32) -> u32 {
    let x = (x ^ x >> 16).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_zeros_have_their_share_and_differ_between_gates() {
        let zeros = |share: f64, last: f32| {
            let mut gate: Vec<f32> = (0..6912).map(|j| if j % 2 == 0 { 1.5 } else { -1.5 }).collect();
            gate[6911] = last;
            simulated(share)(&mut gate);
            gate.pop();
            assert!(gate.iter().all(|&g| g == 0.0 || g == 1.5));
            gate.iter().map(|&g| g == 0.0).collect::<Vec<_>>()
        };
        let count = |zeros: &[bool]| zeros.iter().filter(|&&zero| zero).count();
        let first = zeros(0.8, 1.0);
        assert!((5380..5680).contains(&count(&first)), "{}", count(&first));
        assert_eq!(first, zeros(0.8, 1.0));
        // Independent choices differ at 2 · 0.8 · 0.2 of the places.
        let other = zeros(0.8, 1.001);
        let differing = first.iter().zip(&other).filter(|(a, b)| a != b).count();
        assert!((2050..2370).contains(&differing), "{differing}");
        assert_eq!((count(&zeros(0.0, 1.0)), count(&zeros(1.0, 1.0))), (0, 6911));
    }
}
