//! Gradients of the float operations, row by row, for training. A `d` before a name means the derivative of the loss
//! with respect to it.
//!
//! Every sum is added in a fixed order, so a training step gives the same bytes with any number of threads.

use crate::cpu::Cpu;
pub use crate::op::loss::LossTerms;
use crate::pool::SendPtr;
use crate::rows::Rows;

/// Rows whose gradients of a shared weight are added up together.
const BLOCK: usize = 32;

/// Sums of the loss terms over rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSums {
    /// −ln p(target), in nats.
    pub cross_entropy: f64,
    /// ln²Z, the squared logarithm of the softmax denominator.
    pub squared_log_z: f64,
}

impl std::ops::Add for LossSums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cross_entropy: self.cross_entropy + other.cross_entropy,
            squared_log_z: self.squared_log_z + other.squared_log_z,
        }
    }
}

impl Cpu {
    /// Gradients of [`Cpu::rms_norm`]. Returns the gradient of `x` plus `residual`. The gradient of the weights is
    /// added to `dweight` unless that is empty.
    ///
    /// # Panics
    /// If the shapes differ, or `dweight` is neither empty nor as long as `weight`.
    pub fn rms_norm_backward(
        &self,
        x: &Rows,
        weight: &[f32],
        eps: f32,
        dy: &Rows,
        residual: Option<&Rows>,
        dweight: &mut [f32],
    ) -> Rows {
        let dim = weight.len();
        assert!(x.dim() == dim && dy.dim() == dim && [0, dim].contains(&dweight.len()), "one weight for each feature");
        assert!(x.len() == dy.len(), "one gradient for each row");
        assert!(
            residual.is_none_or(|rows| rows.len() == x.len() && rows.dim() == dim),
            "the residual has the shape of x"
        );
        let mut out = Rows::unwritten(x.len(), dim);
        let dx = SendPtr(out.data_mut().as_mut_ptr());
        let mut partial = vec![0.0; x.len().div_ceil(BLOCK) * dim];
        self.pool.pieces(&mut partial, dim, |block, dweight| {
            for row in block * BLOCK..x.len().min((block + 1) * BLOCK) {
                // SAFETY: row < rows of `out`, each of `dim` values, and every row belongs to one block only.
                let dx = unsafe { std::slice::from_raw_parts_mut(dx.get().add(row * dim), dim) };
                match residual {
                    Some(residual) => dx.copy_from_slice(residual.row(row)),
                    None => dx.fill(0.0),
                }
                self.isa.rms_norm_backward(x.row(row), weight, dy.row(row), eps, dx, dweight);
            }
        });
        if !dweight.is_empty() {
            partial.chunks_exact(dim).for_each(|partial| self.isa.add(dweight, partial));
        }
        out
    }

    /// Replaces `gate` and `up` with the gradients of `relu(gate)² · up`.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn relu2_mul_backward(&self, gate: &mut Rows, up: &mut Rows, dy: &Rows) {
        let dim = dy.dim();
        assert!(gate.dim() == dim && up.dim() == dim && gate.len() == dy.len() && up.len() == dy.len(), "same shape");
        let up = SendPtr(up.data_mut().as_mut_ptr());
        self.pool.pieces(gate.data_mut(), dim, |row, gate| {
            // SAFETY: row < rows of `up`, each of `dim` values, and every row is one piece of work.
            let up = unsafe { std::slice::from_raw_parts_mut(up.get().add(row * dim), dim) };
            self.isa.relu2_mul_backward(gate, up, dy.row(row));
        });
    }

    /// Replaces each row of logits with the gradient of `scale · (−ln p(target) + z · ln²Z)`. Returns the sums over the
    /// rows, without `scale` and `z`.
    ///
    /// # Panics
    /// If there is not one target for each row, or a target is not below the number of logits.
    pub fn cross_entropy(&self, logits: &mut Rows, targets: &[u32], terms: LossTerms) -> LossSums {
        assert_eq!(logits.len(), targets.len(), "one target for each row");
        let dim = logits.dim();
        let mut losses = vec![(0.0, 0.0); targets.len()];
        let losses_at = SendPtr(losses.as_mut_ptr());
        self.pool.pieces(logits.data_mut(), dim, |row, logits| {
            assert!((targets[row] as usize) < dim, "a target is a logit");
            let loss = self.isa.cross_entropy(logits, targets[row] as usize, terms);
            // SAFETY: `losses` has one entry for each row, and every row is one piece of work.
            unsafe { *losses_at.get().add(row) = loss };
        });
        losses.into_iter().fold(LossSums::default(), |sums, (log_z, loss)| {
            sums + LossSums { cross_entropy: f64::from(loss), squared_log_z: f64::from(log_z) * f64::from(log_z) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::softmax::{dot, softmax, softmax_backward};

    /// Pseudo-random values, so that no pattern can hide a wrong gradient.
    fn values(seed: u32, len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i as f32 + 1.3) * (seed as f32 + 0.7) * 12.9898).sin()).collect()
    }

    /// Compares a gradient with central differences of `loss`, relative to the magnitude of the gradient.
    fn check(name: &str, at: &[f32], gradient: &[f32], mut loss: impl FnMut(&[f32]) -> f64) {
        let size = gradient.iter().fold(1e-3f32, |max, g| max.max(g.abs()));
        for i in 0..at.len() {
            let h = 2e-3;
            let mut moved = at.to_vec();
            moved[i] = at[i] + h;
            let above = loss(&moved);
            moved[i] = at[i] - h;
            let numeric = (above - loss(&moved)) / f64::from(2.0 * h);
            let error = (numeric - f64::from(gradient[i])).abs();
            assert!(error < 2e-3 * f64::from(size), "{name}[{i}]: {} but differences give {numeric}", gradient[i]);
        }
    }

    fn weighed(y: &[f32], dy: &[f32]) -> f64 {
        y.iter().zip(dy).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum()
    }

    #[test]
    fn norm_gradients_are_those_of_finite_differences() {
        let cpu = Cpu::new(2).unwrap();
        let (dim, rows) = (37, 70);
        let (x, w, dy) = (values(1, dim * rows), values(2, dim), values(3, dim * rows));
        let rows_of = |data: &[f32]| Rows::from_vec(dim, data.to_vec());
        let mut dw = vec![0.0; dim];
        let dx = cpu.rms_norm_backward(&rows_of(&x), &w, 1e-5, &rows_of(&dy), None, &mut dw);
        let moved = cpu.rms_norm_backward(&rows_of(&x), &w, 1e-5, &rows_of(&dy), Some(&dx), &mut vec![0.0; dim]);
        assert!(moved.data().iter().zip(dx.data()).all(|(moved, d)| (moved - 2.0 * d).abs() < 1e-5));
        check("w", &w, &dw, |w| weighed(cpu.rms_norm(&rows_of(&x), w, 1e-5).data(), &dy));
        let one = |x: &[f32]| weighed(cpu.rms_norm(&rows_of(x), &w, 1e-5).data(), &dy[..dim]);
        check("x", &x[..dim], dx.row(0), one);
    }

    #[test]
    fn gated_gradients_are_those_of_finite_differences() {
        let cpu = Cpu::new(2).unwrap();
        let (gate, up, dy) = (values(4, 50), values(5, 50), values(6, 50));
        let rows_of = |data: &[f32]| Rows::from_vec(25, data.to_vec());
        let (mut dgate, mut dup) = (rows_of(&gate), rows_of(&up));
        cpu.relu2_mul_backward(&mut dgate, &mut dup, &rows_of(&dy));
        let product = |gate: &[f32], up: &[f32]| {
            let mut out = rows_of(gate);
            cpu.relu2_mul(&mut out, &rows_of(up));
            weighed(out.data(), &dy)
        };
        check("gate", &gate, dgate.data(), |gate| product(gate, &up));
        check("up", &up, dup.data(), |up| product(&gate, up));
    }

    #[test]
    fn loss_gradients_are_those_of_finite_differences() {
        let cpu = Cpu::new(2).unwrap();
        let terms = LossTerms { scale: 0.25, z: 0.1 };
        let (logits, targets) = (values(7, 3 * 21), [20, 0, 7]);
        let loss = |logits: &[f32]| {
            let sums = cpu.cross_entropy(&mut Rows::from_vec(21, logits.to_vec()), &targets, terms);
            0.25 * (sums.cross_entropy + 0.1 * sums.squared_log_z)
        };
        let mut gradient = Rows::from_vec(21, logits.clone());
        let sums = cpu.cross_entropy(&mut gradient, &targets, terms);
        check("logits", &logits, gradient.data(), loss);
        let z: f64 = logits[..21].iter().map(|x| f64::from(*x).exp()).sum();
        let first = z.ln() - f64::from(logits[20]);
        assert!(sums.cross_entropy > first && first > 0.0);
    }

    #[test]
    fn softmax_gradients_are_those_of_finite_differences() {
        let (scores, dy, seen) = (values(8, 32), values(9, 32), 19);
        let softmax_of = |scores: &[f32]| {
            let mut weights: Vec<f32> = scores.iter().map(|s| s * 0.5).collect();
            softmax(&mut weights, seen);
            weights
        };
        let weights = softmax_of(&scores);
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6 && weights[seen..].iter().all(|w| *w == 0.0));
        let mut d = dy.clone();
        softmax_backward(&weights, &mut d, dot(&weights, &dy), 0.5);
        check("scores", &scores, &d, |scores| weighed(&softmax_of(scores), &dy));
    }
}
