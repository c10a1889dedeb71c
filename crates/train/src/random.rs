//! Reproducible random numbers.

use sterna::kernels::math::{ln64, sin_cos};
use sterna::kernels::random::SplitMix64;

/// A stream of random numbers.
pub(crate) struct Random(SplitMix64);

impl Random {
    /// A stream seeded by several numbers: the run's seed, a constant for the purpose, and a counter.
    pub fn new(seeds: &[u64]) -> Self {
        Self(seeds.iter().fold(SplitMix64(0), |stream, seed| SplitMix64(SplitMix64(stream.0 ^ seed).next())))
    }

    /// A number from the normal distribution with mean 0 and variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        let [radius, angle] = [0; 2].map(|_| ((self.0.next() >> 11) as f64 + 0.5) * 2f64.powi(-53));
        let (_, cos) = sin_cos((angle * std::f64::consts::TAU) as f32);
        ((-2.0 * ln64(radius)).sqrt() as f32) * cos
    }

    /// The numbers from 0 to `n` in a random order (Fisher and Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            order.swap(last, self.0.below(last + 1));
        }
        order
    }
}
