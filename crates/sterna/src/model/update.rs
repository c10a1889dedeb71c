//! The adapter's contribution to a ternary layer.

use sterna_kernels::{Cpu, LowRank, Rows};

use crate::checkpoint::Checkpoint;

/// The low-rank product to add; `None` for a layer without an adapter.
pub(super) struct Update(Option<LowRank>);

impl Update {
    /// Loads the update of the layer `name`.
    pub fn load(checkpoint: &Checkpoint, name: &str) -> Self {
        Self(checkpoint.update(name))
    }

    /// Adds the update for the layer's input `x` to `out`.
    pub fn add(&self, cpu: &Cpu, x: &Rows, out: &mut Rows) {
        if let Some(product) = &self.0 {
            product.add(cpu, x, out);
        }
    }

    /// Bytes of both matrices.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, LowRank::bytes)
    }
}
