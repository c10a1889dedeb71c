//! A head whose rows are stored as trits with group scales: one packed product reads fewer bytes than a screen would.

use std::sync::Arc;

use sterna_kernels::format::Format;
use sterna_kernels::{Cpu, GroupedMatrix, Rows};

use super::Precision;
use super::hadamard::Hadamard;
use super::head::{Candidates, LogitQuery, Need, scouts, survivors};
use super::weight::grouped_products;

/// Packed rows, `(vocab, hidden)`.
#[derive(Clone)]
pub(super) struct PackedHead {
    pub matrix: Arc<GroupedMatrix>,
    /// The format of the file.
    pub format: &'static Format,
    /// The number type of hidden states.
    pub precision: Precision,
    /// The rotation of hidden states, if the rows were rotated.
    pub hadamard: Option<Hadamard>,
}

impl PackedHead {
    /// The logits of the whole vocabulary: `(hidden state, vocab)`.
    pub fn logits(&self, cpu: &Cpu, hidden: &Rows) -> Rows {
        match &self.hadamard {
            Some(hadamard) => self.products(cpu, &hadamard.forward(cpu, hidden)),
            None => self.products(cpu, hidden),
        }
    }

    fn products(&self, cpu: &Cpu, hidden: &Rows) -> Rows {
        grouped_products(cpu, &[&self.matrix], hidden, self.precision).remove(0)
    }

    /// For each hidden state, the tokens that its query needs, with their logits.
    pub fn candidates(&self, cpu: &Cpu, hidden: &Rows, queries: &[LogitQuery]) -> Vec<Candidates> {
        let logits = self.logits(cpu, hidden);
        let mut found: Vec<Option<Candidates>> = queries.iter().map(|_| None).collect();
        cpu.pool().pieces(&mut found, 1, |i, found| found[0] = Some(candidates(logits.row(i), &queries[i])));
        found.into_iter().flatten().collect()
    }

    pub fn bytes(&self) -> usize {
        self.matrix.bytes()
    }

    pub fn stored_type(&self) -> &'static str {
        self.format.name
    }
}

/// The tokens that a query needs. The logits are exact, so the margins of [`survivors`] are zero.
fn candidates(logits: &[f32], query: &LogitQuery) -> Candidates {
    if query.need == Need::All {
        return Candidates::all(logits);
    }
    let mut margins = vec![0.0; logits.len()];
    for &id in &query.also {
        margins[id as usize] = f32::INFINITY;
    }
    let of = |ids: &[u32]| ids.iter().map(|&id| logits[id as usize]).collect::<Vec<f32>>();
    let scouts = of(&scouts(logits, &margins, query.need));
    let (ids, floor, rest) = survivors(logits, &margins, query.need, &scouts);
    Candidates { logits: of(&ids), ids, floor, rest }
}
