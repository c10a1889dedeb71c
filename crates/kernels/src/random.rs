//! SplitMix64: random numbers that are a function of a seed, the same on every machine.
//!
//! Source: G. Steele, D. Lea, C. Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014.

/// Distance of the states that belong to two consecutive numbers.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number that belongs to a state: SplitMix64's finaliser, a bijection of 64 bits that mixes them well.
pub fn mix(state: u64) -> u64 {
    let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A stream of random numbers; its field is the seed.
#[derive(Clone, Debug)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next 64 bits.
    #[allow(clippy::should_implement_trait, reason = "an endless stream is not an iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `n`. Probabilities are equal up to 2⁻⁶⁴ · `n`.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "there is no number below 0");
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference() {
        // From the C program that S. Vigna published (prng.di.unimi.it/splitmix64.c), seed 1234567.
        let mut random = SplitMix64(1_234_567);
        let numbers = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431];
        assert_eq!(numbers.map(|_| random.next()), numbers);
    }

    #[test]
    fn numbers_below_a_bound_reach_it_all() {
        let mut random = SplitMix64(1);
        let mut counts = [0; 5];
        (0..1000).for_each(|_| counts[random.below(5)] += 1);
        assert!(counts.iter().all(|count| (150..250).contains(count)), "{counts:?}");
        assert_eq!(random.below(1), 0);
    }
}
