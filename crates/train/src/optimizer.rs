//! Updates of the parameters: Muon for linear layers, AdamW for the embedding, the norms and low-rank updates.
//!
//! Muon: K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); the size of its updates
//! relative to AdamW's: "Muon is Scalable for LLM Training" (arXiv 2502.16982). There is no running mean of weights: an
//! average of master weights, rounded to trits, was never trained.

use sterna::kernels::Cpu;
use sterna::kernels::bf16::{Bf16Panels, Bf16Rows, Left, product};

use crate::network::{Parameter, Role};

/// Decay of momentum, for Muon.
const MOMENTUM: f32 = 0.95;
/// Decay of the running means of gradients and of their squares, for AdamW.
const BETAS: (f32, f32) = (0.9, 0.95);
const EPSILON: f32 = 1e-8;
/// Coefficients of x, x³ and x⁵ in an iteration towards the nearest orthogonal matrix.
const NEWTON_SCHULZ: (f32, f32, f32) = (3.4445, -4.775, 2.0315);
const ITERATIONS: usize = 5;
/// Scales an orthogonal update to the usual size of AdamW's.
const MUON_RMS: f32 = 0.2;

/// Learning rates and weight decay of one step.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Learning rate of linear layers, or of their adapters.
    pub linear: f32,
    /// Learning rate of embedding and norms.
    pub other: f32,
    /// Weight decay: the share of a weight that an update subtracts is this times the rate. Norms have none.
    pub weight_decay: f32,
}

/// Optimiser state of a tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moments {
    /// Running mean of the gradient (of its direction, in Muon).
    pub mean: Vec<f32>,
    /// Running mean of its square; empty for Muon.
    pub square: Vec<f32>,
}

impl Moments {
    /// The state before the first step.
    pub fn zeros(parameter: &Parameter) -> Self {
        let len = parameter.values.len();
        let square = if parameter.slot.role == Role::Linear { 0 } else { len };
        Self { mean: vec![0.0; len], square: vec![0.0; square] }
    }
}

/// Updates one tensor. `step` counts from 1.
pub fn update(
    cpu: &Cpu,
    parameter: &mut Parameter,
    moments: &mut Moments,
    gradient: &[f32],
    rates: Rates,
    step: usize,
) {
    match parameter.slot.role {
        Role::Linear => muon(cpu, parameter, moments, gradient, rates),
        Role::LowRank(_) => {
            adamw(&mut parameter.values, moments, gradient, rates.linear, rates.weight_decay, step);
        }
        role => {
            let decay = if role == Role::Norm { 0.0 } else { rates.weight_decay };
            adamw(&mut parameter.values, moments, gradient, rates.other, decay, step);
        }
    }
}

fn adamw(values: &mut [f32], moments: &mut Moments, gradient: &[f32], rate: f32, decay: f32, step: usize) {
    let (mean_rate, square_rate) = (1.0 - BETAS.0, 1.0 - BETAS.1);
    let correction = |beta: f32| 1.0 / (1.0 - f64::from(beta).powi(step.min(1 << 20) as i32)) as f32;
    let (mean_correction, square_correction) = (correction(BETAS.0), correction(BETAS.1));
    let keep = 1.0 - rate * decay;
    let all = values.iter_mut().zip(&mut moments.mean).zip(&mut moments.square).zip(gradient);
    for (((value, mean), square), gradient) in all {
        *mean += mean_rate * (gradient - *mean);
        *square += square_rate * (gradient * gradient - *square);
        let size = (*square * square_correction).sqrt() + EPSILON;
        *value = *value * keep - rate * (*mean * mean_correction / size);
    }
}

fn muon(cpu: &Cpu, parameter: &mut Parameter, moments: &mut Moments, gradient: &[f32], rates: Rates) {
    let (rows, cols) = (parameter.slot.rows, parameter.slot.cols);
    let mut direction = vec![0.0; rows * cols];
    for ((direction, mean), gradient) in direction.iter_mut().zip(&mut moments.mean).zip(gradient) {
        *mean = MOMENTUM * *mean + gradient;
        *direction = gradient + MOMENTUM * *mean;
    }
    let direction = orthogonal(cpu, direction, rows, cols);
    let keep = 1.0 - rates.linear * rates.weight_decay;
    let rate = rates.linear * MUON_RMS * (rows.max(cols) as f32).sqrt();
    for (value, direction) in parameter.values.iter_mut().zip(direction) {
        *value = *value * keep - rate * direction;
    }
}

/// Approximates the nearest orthogonal matrix: the singular values of the result are between 0.7 and 1.2.
fn orthogonal(cpu: &Cpu, mut x: Vec<f32>, rows: usize, cols: usize) -> Vec<f32> {
    let tall = rows > cols;
    if tall {
        x = transposed(&x, rows, cols);
    }
    let (rows, cols) = (rows.min(cols), rows.max(cols));
    let squares: f64 = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let inverse = 1.0 / (squares.sqrt() as f32 + 1e-7);
    x.iter_mut().for_each(|x| *x *= inverse);
    let (a, b, c) = NEWTON_SCHULZ;
    let left = |data: &[f32], dim| Bf16Rows::of(cpu, data, dim);
    let (mut square, mut sum) = (vec![0.0; rows * rows], vec![0.0; rows * rows]);
    for _ in 0..ITERATIONS {
        // x ← a·x + (b·S + c·S²)·x with S = x·xᵀ
        product(
            cpu,
            Left::Rows(&left(&x, cols)),
            &Bf16Panels::transposed(cpu, &x, rows, cols),
            1.0,
            false,
            &mut square,
        );
        sum.iter_mut().zip(&square).for_each(|(sum, s)| *sum = b * s);
        product(cpu, Left::Rows(&left(&square, rows)), &Bf16Panels::of(cpu, &square, rows), c, true, &mut sum);
        let right = Bf16Panels::of(cpu, &x, cols);
        x.iter_mut().for_each(|x| *x *= a);
        product(cpu, Left::Rows(&left(&sum, rows)), &right, 1.0, true, &mut x);
    }
    if tall { transposed(&x, rows, cols) } else { x }
}

fn transposed(x: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|col| (0..rows).map(move |row| x[row * cols + col])).collect()
}
