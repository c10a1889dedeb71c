//! The rotation of activations for weights that were rotated before they were rounded to trits.

use sterna_kernels::{Cpu, Rows};

use crate::arch;

/// The rotation of rows with one width.
#[derive(Clone)]
pub(super) struct Hadamard {
    signs: Vec<f32>,
    block: usize,
}

impl Hadamard {
    /// The model's rotation of rows with `width` columns.
    pub fn new(hadamard: &arch::Hadamard, width: usize) -> Self {
        Self { signs: hadamard.signs(width), block: hadamard.block }
    }

    /// The rotated rows: the input of a product with a rotated weight.
    pub fn forward(&self, cpu: &Cpu, x: &Rows) -> Rows {
        let mut rotated = x.clone();
        cpu.hadamard(&mut rotated, &self.signs, self.block);
        rotated
    }

    /// Rotates rows back: those of a rotated embedding.
    pub fn inverse(&self, cpu: &Cpu, x: &mut Rows) {
        cpu.hadamard_inverse(x, &self.signs, self.block);
    }
}
