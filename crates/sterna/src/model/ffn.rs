//! The feed-forward block of BitNet: `down(norm(activation(gate(x)) · up(x)))`.
//!
//! ReLU² leaves most of its outputs zero. The rows of `up` and the columns of `down` that meet a zero are not read; they
//! would add nothing, so every bit stays the same. Where the tokens of a batch leave little out, it is computed whole.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sterna_kernels::layout::{COLUMNS, ROWS, T16};
use sterna_kernels::sparse::{Indices, Part};
use sterna_kernels::{Activations, Cpu, Matrix, Rows, ternary};

use super::layers::{Linears, Loader, Norm};
use super::update::Update;
use super::{Density, FfnMode, Precision, Settings};
use crate::arch::{Config, decoder};
use crate::{Error, Result};

/// What the gate goes through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// `relu(gate)²`
    Relu2,
    /// `gate / (1 + e^−gate)`, never zero.
    Silu,
}

pub(super) struct Ffn {
    weights: Weights,
    activation: Activation,
    norm: Norm,
    zeros: Option<GateZeros>,
}

enum Weights {
    /// Everything is read.
    Tiles { gate_up: Linears<2>, down: Linears<1> },
    /// What meets a zero is left out.
    Lines { gate: Matrix, up: Matrix, down: Matrix, updates: [Update; 3], counts: Counts },
}

/// What tokens needed, in one layer.
#[derive(Default)]
struct Counts {
    tokens: AtomicU64,
    gates: AtomicU64,
    codes: AtomicU64,
}

/// Zeros for measurements of models that have none.
struct GateZeros {
    /// Gates whose hash is below become zero.
    below: u32,
    layer: u32,
}

/// Whether a network's settings ask for what it has.
pub(super) fn check(config: &Config, settings: Settings, precision: Precision) -> Result<()> {
    let bad = |what: &str| Err(Error::option("ffn", what));
    let relu2 = config.architecture.hidden_act == "relu2";
    if settings.gate_zeros.is_some() && !relu2 {
        return bad("zeros of the gate can be simulated only in models whose gate is ReLU²");
    }
    if settings.ffn != FfnMode::Sparse {
        return Ok(());
    }
    if !relu2 {
        return bad("the gate of this model is SiLU, which is never zero: use the dense feed-forward block");
    }
    if precision != Precision::Int8 {
        return bad("zeros are skipped with int8 activations only: use them, or the dense feed-forward block");
    }
    if config.intermediate > COLUMNS.max_cols {
        return bad("this model's feed-forward block is too wide to skip zeros: use the dense one");
    }
    Ok(())
}

impl Ffn {
    pub fn load(loader: &Loader<'_>, slots: &decoder::Layer<'_>, activation: Activation) -> Result<Self> {
        let (c, settings) = (&loader.checkpoint.config, loader.settings);
        let skips = activation == Activation::Relu2
            && settings.ffn != FfnMode::Dense
            && loader.precision == Precision::Int8
            && c.intermediate <= COLUMNS.max_cols;
        let weights = if skips {
            let (gate, up, down) = (slots.gate(), slots.up(), slots.down());
            Weights::Lines {
                gate: loader.matrix(&gate, &T16)?,
                up: loader.matrix(&up, &ROWS)?,
                down: loader.matrix(&down, &COLUMNS)?,
                updates: [gate, up, down].map(|slot| loader.update(&slot)),
                counts: Counts::default(),
            }
        } else {
            Weights::Tiles {
                gate_up: loader.linears([slots.gate(), slots.up()])?,
                down: loader.linears([slots.down()])?,
            }
        };
        let zeros = settings.gate_zeros.map(|share| GateZeros::new(share, slots.number));
        Ok(Self { weights, activation, norm: loader.norm(slots.ffn_sub_norm())?, zeros })
    }

    /// `x`: normed rows at `positions`.
    pub fn forward(&self, cpu: &Cpu, x: &Rows, positions: &[usize]) -> Rows {
        match &self.weights {
            Weights::Tiles { gate_up, down } => {
                let [gate, up] = gate_up.forward(cpu, x);
                let h = self.gated(cpu, gate, &up, positions);
                let [out] = down.forward(cpu, &h);
                out
            }
            Weights::Lines { gate, up, down, updates: [gate_update, up_update, down_update], counts } => {
                let codes = Activations::quantize(cpu, x);
                let [mut gate] = ternary::matmul(cpu, &[gate], &codes).try_into().expect("one result a matrix");
                gate_update.add(cpu, x, &mut gate);
                self.simulate(cpu, &mut gate, positions);
                let gates = Indices::positive(cpu, &gate);
                // Where the gate is not positive this gives 0, whatever `up` is.
                let mut up = ternary::matmul_part(cpu, up, &codes, Part::Rows(&gates));
                up_update.add(cpu, x, &mut up);
                cpu.relu2_mul(&mut gate, &up);
                let h = self.norm.forward(cpu, &gate);
                let h_codes = Activations::quantize(cpu, &h);
                let codes = Indices::nonzero(cpu, &h_codes);
                counts.tokens.fetch_add(x.len() as u64, Relaxed);
                counts.gates.fetch_add(gates.total() as u64, Relaxed);
                counts.codes.fetch_add(codes.total() as u64, Relaxed);
                let mut out = ternary::matmul_part(cpu, down, &h_codes, Part::Columns(&codes));
                down_update.add(cpu, &h, &mut out);
                out
            }
        }
    }

    /// `norm(activation(gate) · up)`
    fn gated(&self, cpu: &Cpu, mut gate: Rows, up: &Rows, positions: &[usize]) -> Rows {
        self.simulate(cpu, &mut gate, positions);
        match self.activation {
            Activation::Relu2 => cpu.relu2_mul(&mut gate, up),
            Activation::Silu => cpu.silu_mul(&mut gate, up),
        }
        self.norm.forward(cpu, &gate)
    }

    fn simulate(&self, cpu: &Cpu, gate: &mut Rows, positions: &[usize]) {
        if let Some(zeros) = &self.zeros {
            let dim = gate.dim();
            cpu.pool().pieces(gate.data_mut(), dim, |row, gate| zeros.apply(gate, positions[row]));
        }
    }

    /// Packed bytes of the three layers, and of what is added to them.
    pub fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Tiles { gate_up, down } => gate_up.bytes() + down.bytes(),
            Weights::Lines { gate, up, down, updates, .. } => {
                gate.bytes() + up.bytes() + down.bytes() + updates.iter().map(Update::bytes).sum::<usize>()
            }
        }
    }

    /// What tokens needed so far; `None` if everything is always read.
    pub fn density(&self) -> Option<Density> {
        let Weights::Lines { up, down, counts, .. } = &self.weights else { return None };
        let tokens = counts.tokens.load(Relaxed);
        let mean = |count: &AtomicU64| count.load(Relaxed) as f64 / tokens.max(1) as f64;
        let (gates, codes) = (mean(&counts.gates), mean(&counts.codes));
        let (row, column) = up.part_bytes().zip(down.part_bytes())?;
        let read = gates * row as f64 + codes * column as f64;
        Some(Density {
            tokens,
            gates: gates / up.shape().0 as f64,
            codes: codes / down.shape().1 as f64,
            skipped_bytes: if tokens == 0 { 0.0 } else { (up.bytes() + down.bytes()) as f64 - read },
        })
    }
}

impl GateZeros {
    fn new(share: f32, layer: usize) -> Self {
        // Saturates: a share of 1 leaves one gate in 2³².
        Self { below: (f64::from(share) * 2f64.powi(32)) as u32, layer: layer as u32 }
    }

    /// Makes a pseudo-random choice of the gates of a token zero and the others positive: a function of layer, position
    /// and index alone.
    fn apply(&self, gate: &mut [f32], position: usize) {
        let seed = mix(mix(self.layer).wrapping_add(position as u32));
        for (j, gate) in gate.iter_mut().enumerate() {
            *gate = if mix(seed.wrapping_add(j as u32)) < self.below { 0.0 } else { gate.abs() };
        }
    }
}

/// The finaliser of MurmurHash3 (Austin Appleby, public domain).
fn mix(x: u32) -> u32 {
    let x = (x ^ x >> 16).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_zeros_have_their_share_and_differ_everywhere() {
        let zeros = |share: f32, layer, position| {
            let mut gate: Vec<f32> = (0..6912).map(|j| if j % 2 == 0 { 1.5 } else { -1.5 }).collect();
            GateZeros::new(share, layer).apply(&mut gate, position);
            assert!(gate.iter().all(|&g| g == 0.0 || g == 1.5));
            gate.iter().map(|&g| g == 0.0).collect::<Vec<_>>()
        };
        let count = |zeros: &[bool]| zeros.iter().filter(|&&zero| zero).count();
        let first = zeros(0.8, 3, 17);
        assert!((5380..5680).contains(&count(&first)), "{}", count(&first));
        assert_eq!(first, zeros(0.8, 3, 17));
        for other in [zeros(0.8, 3, 18), zeros(0.8, 4, 17)] {
            // Independent choices differ at 2 · 0.8 · 0.2 of the places.
            let differing = first.iter().zip(&other).filter(|(a, b)| a != b).count();
            assert!((2050..2370).contains(&differing), "{differing}");
        }
        assert_eq!((count(&zeros(0.0, 0, 0)), count(&zeros(1.0, 0, 0))), (0, 6912));
    }
}
