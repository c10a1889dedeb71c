//! What an adapter adds to the output of a ternary layer.

use sterna_kernels::{Cpu, DenseMatrix, Rows};

use crate::checkpoint::Checkpoint;

/// A and B, with `alpha / rank` in B; `None` for a layer without an adapter.
pub(super) struct Update(Option<(DenseMatrix, DenseMatrix)>);

impl Update {
    /// That of the layer `name`, `(rows, cols)`.
    pub fn load(checkpoint: &Checkpoint, name: &str, rows: usize, cols: usize) -> Self {
        Self(checkpoint.update(name, rows, cols))
    }

    /// `out += B · (A · x)`, where `x` is what the layer read.
    pub fn add(&self, cpu: &Cpu, x: &Rows, out: &mut Rows) {
        if let Some((a, b)) = &self.0 {
            cpu.add(out, &b.matmul(cpu, &a.matmul(cpu, x)));
        }
    }

    /// Bytes of both matrices.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |(a, b)| a.bytes() + b.bytes())
    }
}
