//! Random numbers of tests, here and in the tests of `sterna`: a seed, so that failures repeat.

use sterna_kernels::random::SplitMix64;

/// A stream; its field is the seed. Tests add what they draw.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        let mut stream = SplitMix64(self.0);
        let number = stream.next();
        self.0 = stream.0;
        number
    }

    #[allow(dead_code, reason = "not every test draws numbers below a bound")]
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
