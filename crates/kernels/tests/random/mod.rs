//! Random numbers of tests, here and in the tests of `sterna`: a seed, so that failures repeat.

use sterna_kernels::Rows;
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

    /// A float of random size and sign, sometimes a special value.
    #[allow(dead_code, reason = "not every test draws floats")]
    pub fn float(&mut self) -> f32 {
        match self.next() % 61 {
            0 => 0.0,
            1 => -0.0,
            2 => 1e-30,
            3 => 3.0e4,
            _ => (self.next() as i32) as f32 / 2f32.powi(24 + (self.next() % 12) as i32),
        }
    }

    #[allow(dead_code, reason = "not every test draws rows")]
    pub fn rows(&mut self, rows: usize, dim: usize) -> Rows {
        Rows::from_vec(dim, (0..rows * dim).map(|_| self.float()).collect())
    }
}
