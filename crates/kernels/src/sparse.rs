//! Products that read only part of a matrix, for gates with many zeros.
//!
//! ```text
//! relu(g)² ──► rows of up_proj whose gate is positive ──► h = relu(g)² · up
//!          ──► columns of down_proj whose int8 code of h is not zero ──► y
//! ```
//!
//! A tile of 16 rows almost always contains a row that is needed. So the two matrices have layouts in which a row
//! ([`ROWS`](crate::layout::ROWS)) or a column ([`COLUMNS`](crate::layout::COLUMNS)) is contiguous. They are stored
//! once. Each token of a batch reads what it needs. If the tokens together need so much that a product with the whole
//! matrix ([`crate::ternary::matmul`]) takes less time, the matrix is rearranged into tiles, piece by piece.

use std::ops::Deref;

use crate::activations::Activations;
use crate::cpu::Cpu;
use crate::rows::Rows;

/// The needed part of a product.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// These outputs of each token; others may be 0.
    Rows(&'a Indices),
    /// These inputs of each token: at least all whose code is not zero.
    Columns(&'a Indices),
}

/// For each token, the indices of its nonzero inputs or outputs, in order.
pub struct Indices(Vec<Vec<u32>>);

impl Indices {
    /// Indices at which a gate is positive.
    pub fn positive(cpu: &Cpu, gate: &Rows) -> Self {
        Self::find(cpu, gate.len(), |t, indices| push(indices, gate.row(t), |gate| gate > 0.0))
    }

    /// Indices at which codes are not zero.
    pub fn nonzero(cpu: &Cpu, x: &Activations) -> Self {
        Self::find(cpu, x.rows(), |t, indices| push(indices, x.row(t), |code| code != 0))
    }

    fn find(cpu: &Cpu, tokens: usize, find: impl Fn(usize, &mut Vec<u32>) + Sync) -> Self {
        let mut indices = vec![Vec::new(); tokens];
        cpu.pool.pieces(&mut indices, 1, |t, indices| find(t, &mut indices[0]));
        Self(indices)
    }

    /// Number of indices of all tokens together.
    pub fn total(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether to read the needed rows or columns for each token separately, instead of all `all` of them once.
    pub(crate) fn one_by_one(&self, cpu: &Cpu, all: usize) -> bool {
        self.total() as f32 <= (cpu.isa.cost().whole)(self.0.len()) * all as f32
    }
}

impl Deref for Indices {
    type Target = [Vec<u32>];

    fn deref(&self) -> &[Vec<u32>] {
        &self.0
    }
}

#[inline(always)]
fn push<T: Copy>(indices: &mut Vec<u32>, values: &[T], keep: impl Fn(T) -> bool) {
    indices.resize(values.len(), 0);
    let mut n = 0;
    for (i, &value) in values.iter().enumerate() {
        // Always written, but kept only if needed, to avoid an unpredictable branch.
        indices[n] = i as u32;
        n += usize::from(keep(value));
    }
    indices.truncate(n);
}
