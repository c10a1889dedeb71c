//! The low-rank update of one linear layer, in both directions. Formulas: see [`crate::adapter`].

use sterna::kernels::bf16::{Bf16Panels, Bf16Rows, Left, product, product_rows};
use sterna::kernels::{Cpu, LowRank, Rows};

use crate::network::{Parameter, Role};

/// The low-rank update of one layer.
pub struct Update {
    forward: LowRank,
    /// `(rank, cols)`
    a: Bf16Panels,
    /// `(rows, rank)`
    b: Bf16Panels,
    scale: f32,
}

/// Splits a low-rank update into A and B.
pub(crate) fn halves(parameter: &Parameter) -> Option<(&[f32], &[f32])> {
    match parameter.slot.role {
        Role::LowRank(rank) => Some(parameter.values.split_at(rank * parameter.slot.cols)),
        _ => None,
    }
}

impl Update {
    pub(crate) fn new(cpu: &Cpu, parameter: &Parameter, scale: f32) -> Self {
        let (Role::LowRank(rank), Some((a, b))) = (parameter.slot.role, halves(parameter)) else {
            unreachable!("a linear layer has an update")
        };
        let forward = LowRank::new(rank, a, b, scale).expect("rows of the rank");
        let (a, b) = (Bf16Panels::of(cpu, a, parameter.slot.cols), Bf16Panels::of(cpu, b, rank));
        Self { forward, a, b, scale }
    }

    /// Adds the update's output for `x` to `out`, as the engine does.
    pub fn add(&self, cpu: &Cpu, x: &Rows, out: &mut Rows) {
        self.forward.add(cpu, x, out);
    }

    /// Adds the gradients of A and B to `gradient`, and that of the input to `dx`.
    pub(crate) fn backward(
        &self,
        cpu: &Cpu,
        x: (&Rows, &Bf16Panels),
        dy: (&Rows, &Bf16Rows),
        gradient: &mut [f32],
        dx: &mut Rows,
    ) {
        let (da, db) = gradient.split_at_mut(self.a.rows() * self.a.cols());
        let dt = product_rows(cpu, Left::Rows(dy.1), &self.b, self.scale);
        product(cpu, Left::Rows(&Bf16Rows::from_rows(cpu, &dt)), &self.a, 1.0, true, dx.data_mut());
        let panels = |rows: &Rows| Bf16Panels::of(cpu, rows.data(), rows.dim());
        product(cpu, Left::Transposed(&panels(&dt)), x.1, 1.0, true, da);
        let t = self.forward.project(cpu, x.0);
        product(cpu, Left::Transposed(&panels(dy.0)), &panels(&t), self.scale, true, db);
    }
}
