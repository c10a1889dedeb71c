//! The weights of a ternary layer, in the form that its products read.
//!
//! ```text
//! BitNet:        Matrix         one scale; input int8 with one scale per token, or f32
//! weight-only:   GroupedMatrix  a scale per group; input int8 or int14 with one scale per group, or f32
//! ```

use sterna_kernels::grouped::{self, GroupedActivations, Parts};
use sterna_kernels::{Activations, Cpu, GroupedMatrix, Matrix, Rows, ternary};

use super::Precision;

/// A packed matrix.
pub(super) enum Weight {
    Ternary(Matrix),
    Grouped(GroupedMatrix),
}

impl Weight {
    /// Packed bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Ternary(matrix) => matrix.bytes(),
            Self::Grouped(matrix) => matrix.bytes(),
        }
    }
}

/// Products of weights with the same input, `(token, rows)` for each. Weights of one kind share the input's codes.
pub(super) fn products(cpu: &Cpu, weights: &[&Weight], x: &Rows, precision: Precision) -> Vec<Rows> {
    let mut outs: Vec<Option<Rows>> = weights.iter().map(|_| None).collect();
    let columns = |i: usize| if let Weight::Grouped(matrix) = weights[i] { Some(matrix.columns()) } else { None };
    let mut kinds: Vec<Option<usize>> = (0..weights.len()).map(columns).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        let these: Vec<usize> = (0..weights.len()).filter(|i| columns(*i) == kind).collect();
        let results = of_kind(cpu, &these.iter().map(|i| weights[*i]).collect::<Vec<_>>(), x, precision);
        for (i, result) in these.into_iter().zip(results) {
            outs[i] = Some(result);
        }
    }
    outs.into_iter().flatten().collect()
}

/// Products of weights that are all one [`Matrix`], or all a [`GroupedMatrix`] with groups of one size.
fn of_kind(cpu: &Cpu, weights: &[&Weight], x: &Rows, precision: Precision) -> Vec<Rows> {
    let (mut whole, mut groups) = (Vec::new(), Vec::new());
    for weight in weights {
        match weight {
            Weight::Ternary(matrix) => whole.push(matrix),
            Weight::Grouped(matrix) => groups.push(matrix),
        }
    }
    match (groups.first(), precision) {
        (None, Precision::Int8) => ternary::matmul(cpu, &whole, &Activations::quantize(cpu, x)),
        (None, Precision::Int14 | Precision::Float32) => ternary::matmul_f32(cpu, &whole, x),
        (Some(_), _) => grouped_products(cpu, &groups, x, precision),
    }
}

/// Products of matrices with groups of one size.
pub(super) fn grouped_products(cpu: &Cpu, matrices: &[&GroupedMatrix], x: &Rows, precision: Precision) -> Vec<Rows> {
    let parts = match precision {
        Precision::Int8 => Parts::One,
        Precision::Int14 => Parts::Two,
        Precision::Float32 => return grouped::matmul_f32(cpu, matrices, x),
    };
    let columns = matrices.first().map_or(256, |matrix| matrix.columns());
    grouped::matmul(cpu, matrices, &GroupedActivations::quantize(cpu, x, columns, parts))
}
