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

/// `gate = gate / 2 · (1 + tanh(√(2/π) · (gate + 0.044715 · gate³))) · up`: GELU, with the tanh written as an exponential.
#[inline(always)]
pub(crate) fn gelu_mul(gate: &mut [f32], up: &[f32]) {
    /// 2 · √(2/π)
    const SLOPE: f32 = 1.595_769;
    for (gate, up) in gate.iter_mut().zip(up) {
        let inner = *gate + 0.044_715 * (*gate * *gate * *gate);
        *gate = *gate / (1.0 + exp(-(SLOPE * inner))) * up;
    }
}

/// `x = x / (1 + e^−gate)`
#[inline(always)]
pub(crate) fn sigmoid_mul(x: &mut [f32], gate: &[f32]) {
    for (x, gate) in x.iter_mut().zip(gate) {
        *x /= 1.0 + exp(-*gate);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_is_the_formula_with_tanh() {
        for i in -400..400 {
            let x = i as f32 * 0.05;
            let mut gate = [x];
            gelu_mul(&mut gate, &[3.0]);
            let (x, root) = (f64::from(x), (2.0 / std::f64::consts::PI).sqrt());
            let expected = 1.5 * x * (1.0 + (root * (x + 0.044_715 * x.powi(3))).tanh());
            assert!(
                (f64::from(gate[0]) - expected).abs() <= 2e-6 * expected.abs().max(1.0),
                "{x}: {gate:?}, {expected}"
            );
        }
    }
}
