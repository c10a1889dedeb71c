//! The feed-forward block of BitNet: `down(norm(activation(gate(x)) · up(x)))`.
//!
//! Most outputs of ReLU² are zero. The rows of `up` and the columns of `down` that would be multiplied by zero are not
//! read. They add nothing, so the results are the same bytes. If the tokens of a batch together need most of them, all
//! are read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sterna_kernels::layout::{COLUMNS, ROWS, T16};
use sterna_kernels::sparse::{Indices, Part};
use sterna_kernels::{Activations, Cpu, Matrix, Rows, ternary};

use super::layers::{Linears, Loader, Norm};
use super::update::Update;
use super::{Density, FfnMode, GateHook, Precision};
use crate::arch::decoder;
use crate::{Error, Result};

/// Activation function of the gate.
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
    gate_hook: Option<GateHook>,
}

enum Weights {
    /// All weights are read.
    Tiles { gate_up: Linears<2>, down: Linears<1> },
    /// Weights that are multiplied by zero are skipped.
    Lines { gate: Matrix, up: Matrix, down: Matrix, updates: [Update; 3], counts: Counts },
}

/// Counts of the weights that tokens needed, in one layer.
#[derive(Default)]
struct Counts {
    tokens: AtomicU64,
    gates: AtomicU64,
    codes: AtomicU64,
}

/// Rejects settings that the architecture does not support.
pub(super) fn check(loader: &Loader<'_>) -> Result<()> {
    let Loader { settings, precision, .. } = *loader;
    let config = &loader.checkpoint.config;
    let bad = |what: &str| Err(Error::option("ffn", what));
    let relu2 = config.architecture.hidden_act == "relu2";
    if settings.ffn != FfnMode::Sparse {
        return Ok(());
    }
    if !relu2 {
        return bad("the gate of this model is SiLU, which is never zero: use the dense feed-forward block");
    }
    if precision != Precision::Int8 {
        return bad("zeros are skipped only with int8 activations: use these, or the dense feed-forward block");
    }
    if loader.grouped {
        return bad("zeros are skipped only if a matrix has one scale: use the dense feed-forward block");
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
            && !loader.grouped
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
        let norm = loader.norm(slots.ffn_sub_norm())?;
        Ok(Self { weights, activation, norm, gate_hook: loader.gate_hook.clone() })
    }

    /// Computes the block for normed rows `x`.
    pub fn forward(&self, cpu: &Cpu, x: &Rows) -> Rows {
        match &self.weights {
            Weights::Tiles { gate_up, down } => {
                let [gate, up] = gate_up.forward(cpu, x);
                let h = self.gated(cpu, gate, &up);
                let [out] = down.forward(cpu, &h);
                out
            }
            Weights::Lines { gate, up, down, updates: [gate_update, up_update, down_update], counts } => {
                let codes = Activations::quantize(cpu, x);
                let [mut gate] = ternary::matmul(cpu, &[gate], &codes).try_into().expect("one result per matrix");
                gate_update.add(cpu, x, &mut gate);
                self.call_hook(cpu, &mut gate);
                let gates = Indices::positive(cpu, &gate);
                // The result is 0 where the gate is not positive, for any `up`.
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
    fn gated(&self, cpu: &Cpu, mut gate: Rows, up: &Rows) -> Rows {
        self.call_hook(cpu, &mut gate);
        match self.activation {
            Activation::Relu2 => cpu.relu2_mul(&mut gate, up),
            Activation::Silu => cpu.silu_mul(&mut gate, up),
        }
        self.norm.forward(cpu, &gate)
    }

    fn call_hook(&self, cpu: &Cpu, gate: &mut Rows) {
        if let Some(hook) = &self.gate_hook {
            let dim = gate.dim();
            cpu.pool().pieces(gate.data_mut(), dim, |_, row| hook(row));
        }
    }

    /// Packed bytes of the three layers and of their adapter.
    pub fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Tiles { gate_up, down } => gate_up.bytes() + down.bytes(),
            Weights::Lines { gate, up, down, updates, .. } => {
                gate.bytes() + up.bytes() + down.bytes() + updates.iter().map(Update::bytes).sum::<usize>()
            }
        }
    }

    /// The share of weights that tokens needed so far; `None` if all weights are always read.
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
