//! Products that read only part of a matrix: what a gate with zeros makes possible.
//!
//! ```text
//! relu(g)² ──► rows of up_proj whose gate is positive ──► h = relu(g)² · up
//!          ──► columns of down_proj whose int8 code of h is not zero ──► y
//! ```
//!
//! A tile of 16 rows almost always holds a row that is wanted, so the two matrices have layouts of their own, in which a
//! row ([`RowMatrix`](crate::RowMatrix)) or a column ([`ColumnMatrix`](crate::ColumnMatrix)) is contiguous. They are
//! stored once. Each token of a batch reads what it needs, unless together they need so much that a product with all of
//! it ([`crate::ternary::matmul`]) takes less time: a piece at a time is then rearranged into tiles.

use std::ops::Deref;

use crate::activations::Activations;
use crate::cpu::Cpu;
use crate::rows::Rows;

/// The places of each token's input or output that are not zero, in order.
pub struct Wanted(Vec<Vec<u32>>);

impl Wanted {
    /// Where a gate is positive.
    pub fn positive(cpu: &Cpu, gate: &Rows) -> Self {
        Self::places(cpu, gate.len(), |t, places| push(places, gate.row(t), |gate| gate > 0.0))
    }

    /// Where codes are not zero.
    pub fn nonzero(cpu: &Cpu, x: &Activations) -> Self {
        Self::places(cpu, x.rows(), |t, places| push(places, x.row(t), |code| code != 0))
    }

    fn places(cpu: &Cpu, tokens: usize, find: impl Fn(usize, &mut Vec<u32>) + Sync) -> Self {
        let mut places = vec![Vec::new(); tokens];
        cpu.pool.pieces(&mut places, 1, |t, places| find(t, &mut places[0]));
        Self(places)
    }

    /// Places of all tokens.
    pub fn total(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether to read a matrix of `all` rows or columns for each token anew, instead of all of it once.
    pub(crate) fn one_by_one(&self, cpu: &Cpu, all: usize) -> bool {
        self.total() as f32 <= (cpu.isa.cost().whole)(self.0.len()) * all as f32
    }
}

impl Deref for Wanted {
    type Target = [Vec<u32>];

    fn deref(&self) -> &[Vec<u32>] {
        &self.0
    }
}

#[inline(always)]
fn push<T: Copy>(places: &mut Vec<u32>, values: &[T], keep: impl Fn(T) -> bool) {
    places.resize(values.len(), 0);
    let mut n = 0;
    for (i, &value) in values.iter().enumerate() {
        // Always written, kept if wanted: no branch that is taken at random.
        places[n] = i as u32;
        n += usize::from(keep(value));
    }
    places.truncate(n);
}
