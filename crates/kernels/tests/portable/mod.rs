//! Comparison with the portable set, byte for byte, and inputs for it.

use sterna_kernels::{Cpu, Rows, sets};

use crate::random::Random;

impl Random {
    /// A float of random size and sign, sometimes a special value.
    pub fn float(&mut self) -> f32 {
        match self.next() % 61 {
            0 => 0.0,
            1 => -0.0,
            2 => 1e-30,
            3 => 3.0e4,
            _ => (self.next() as i32) as f32 / 2f32.powi(24 + (self.next() % 12) as i32),
        }
    }

    pub fn rows(&mut self, rows: usize, dim: usize) -> Rows {
        Rows::from_vec(dim, (0..rows * dim).map(|_| self.float()).collect())
    }
}

/// Compares every supported set, on one thread and on three, with portable on one.
pub fn against_portable<T: PartialEq + std::fmt::Debug>(what: &str, op: impl Fn(&Cpu) -> T) {
    let expected = op(&Cpu::with(sets::portable(), 1));
    for set in sets::available() {
        for threads in [1, 3] {
            let got = op(&Cpu::with(set, threads));
            assert!(got == expected, "{what}: {} on {threads} threads differs from portable", set.name());
        }
    }
}

/// The bits of every value.
pub fn bits(rows: &[Rows]) -> Vec<u32> {
    rows.iter().flat_map(|rows| rows.data()).map(|x| x.to_bits()).collect()
}
