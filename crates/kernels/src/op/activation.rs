//! Activation functions of feed-forward layers, and their gradients.

use super::math::exp;

/// `gate = relu(gate)² · up`; zero where the gate is not positive, for any `up`.
#[inline(always)]
pub(crate) fn relu2_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        let product = *gate * *gate * up;
        *gate = if *gate > 0.0 { product } else { 0.0 };
    }
}

/// `gate = gate / (1 + e^−gate) · up`
#[inline(always)]
pub(crate) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

/// Replaces gate and up with their gradients of `relu(gate)² · up`.
#[inline(always)]
pub(crate) fn relu2_mul_backward(gate: &mut [f32], up: &mut [f32], dy: &[f32]) {
    for ((gate, up), dy) in gate.iter_mut().zip(up).zip(dy) {
        let open = if *gate > 0.0 { *gate } else { 0.0 };
        *gate = 2.0 * open * *up * dy;
        *up = open * open * dy;
    }
}
