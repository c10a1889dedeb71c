//! The weights of a step, made from the parameters. Parameters are rounded to bf16, as they are saved; linear layers
//! are then rounded to trits by the rule of the engine's loader.

use std::borrow::Cow;
use std::sync::Arc;

use sterna::kernels::bf16::{Bf16Panels, Bf16Rows, Left, product, product_rows};
use sterna::kernels::format::{BF16, Trits};
use sterna::kernels::layout::T16;
use sterna::kernels::math::{bf16_to_f32, f32_to_bf16};
use sterna::kernels::{Activations, Bytes, Cpu, DenseMatrix, Matrix, Rows, Scales, ternary};

use crate::network::{Network, Parameter, Role, Slot};
use crate::precision::Precision;
use crate::update::Update;
use crate::{Error, Result};

/// A parameter ready for use.
pub enum Weight {
    /// Weights of a norm.
    Norm(Vec<f32>),
    /// Embedding and head.
    Embedding(Arc<Embedding>),
    /// A linear layer and its low-rank update, if there is one.
    Linear(Arc<Linear>, Option<Update>),
}

/// The embedding: rows to look up, and the head's matrix for the forward and the backward product.
pub struct Embedding {
    rows: DenseMatrix,
    /// `(hidden, vocab)`
    forward: Bf16Panels,
    /// The rounding error of the rows in bf16, if they are stored in another type.
    low: Option<Bf16Panels>,
    /// `(vocab, hidden)`
    backward: Bf16Panels,
}

/// A linear layer `(rows, cols)`.
pub struct Linear {
    forward: Forward,
    /// `(rows, cols)`: trits, or the weights. A frozen layer stays packed and is unpacked when it is used, because bf16
    /// takes eight times the memory.
    backward: Option<Bf16Panels>,
    scale: f32,
}

enum Forward {
    Ternary(Matrix),
    /// `(cols, rows)`
    Full(Bf16Panels),
}

/// The input of linear layers, kept for their gradients.
pub enum Input {
    /// int8 codes.
    Codes(Activations),
    /// Rows in f32; products round them to bf16.
    Full(Rows),
    /// int8 codes and f32 rows, for layers with low-rank updates.
    Both(Activations, Rows),
}

/// Rounds to the nearest bf16 and back.
pub(crate) fn bf16(x: f32) -> f32 {
    bf16_to_f32(f32_to_bf16(x))
}

fn rounded(values: &[f32]) -> Vec<f32> {
    values.iter().map(|x| bf16(*x)).collect()
}

/// Makes the weights of a step from the parameters.
///
/// # Errors
/// [`Error::Diverged`] if a linear layer holds a NaN or an infinity.
///
/// # Panics
/// If a parameter has a role that only adapters have: their networks are made by
/// [`adapter::prepare`](crate::adapter::prepare).
pub fn prepare(cpu: &Cpu, parameters: &Network<Parameter>, precision: Precision) -> Result<Network<Weight>> {
    parameters.try_map(|Parameter { slot, values }| {
        Ok(match slot.role {
            Role::Norm => Weight::Norm(rounded(values)),
            Role::Embedding => Weight::Embedding(Embedding::new(cpu, slot, values).into()),
            Role::Linear => Weight::Linear(Linear::new(cpu, slot, values, precision)?.into(), None),
            Role::LowRank(_) | Role::Frozen => unreachable!("frozen parameters come from the base"),
        })
    })
}

impl Weight {
    /// A norm's weights.
    ///
    /// # Panics
    /// If it is a parameter of another role.
    pub fn norm(&self) -> &[f32] {
        match self {
            Self::Norm(weights) => weights,
            _ => unreachable!("a network's roles are fixed"),
        }
    }

    /// The embedding.
    ///
    /// # Panics
    /// If it is a parameter of another role.
    pub fn embedding(&self) -> &Embedding {
        match self {
            Self::Embedding(embedding) => embedding,
            _ => unreachable!("a network's roles are fixed"),
        }
    }

    /// A linear layer.
    ///
    /// # Panics
    /// If it is a parameter of another role.
    pub fn linear(&self) -> &Linear {
        match self {
            Self::Linear(linear, _) => linear,
            _ => unreachable!("a network's roles are fixed"),
        }
    }

    /// The low-rank update of a linear layer.
    ///
    /// # Panics
    /// If it is not a linear layer of an adapted network.
    pub fn update(&self) -> &Update {
        match self {
            Self::Linear(_, Some(update)) => update,
            _ => unreachable!("every linear layer of an adapted network has an update"),
        }
    }
}

impl Embedding {
    fn new(cpu: &Cpu, slot: &Slot, values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|x| f32_to_bf16(*x).to_le_bytes()).collect();
        let rows = DenseMatrix::new(&BF16, slot.rows, slot.cols, bytes.into());
        let forward = Bf16Panels::transposed(cpu, values, slot.rows, slot.cols);
        let backward = Bf16Panels::of(cpu, values, slot.cols);
        Self { rows: rows.expect("a row is not empty"), forward, low: None, backward }
    }

    /// A frozen embedding, with rows as a checkpoint stores them.
    pub fn frozen(cpu: &Cpu, rows: DenseMatrix) -> Self {
        let (vocab, hidden) = (rows.rows(), rows.cols());
        let mut values = rows.lookup(cpu, &(0..vocab as u32).collect::<Vec<_>>());
        let forward = Bf16Panels::transposed(cpu, values.data(), vocab, hidden);
        let backward = Bf16Panels::of(cpu, values.data(), hidden);
        let low = (*rows.format() != BF16).then(|| {
            lose_high(cpu, &mut values);
            Bf16Panels::transposed(cpu, values.data(), vocab, hidden)
        });
        Self { rows, forward, low, backward }
    }

    /// Looks up the rows of tokens: `(token, hidden)`.
    pub fn lookup(&self, cpu: &Cpu, tokens: &[u32]) -> Rows {
        self.rows.lookup(cpu, tokens)
    }

    /// Logits: `(token, vocab)`. Hidden states enter the product as the sum of two bf16, so only their last bits are
    /// lost.
    pub fn logits(&self, cpu: &Cpu, hidden: &Rows) -> Rows {
        let mut low = hidden.clone();
        lose_high(cpu, &mut low);
        let [high, low] = [hidden, &low].map(|part| Bf16Rows::from_rows(cpu, part));
        let mut logits = product_rows(cpu, Left::Rows(&high), &self.forward, 1.0);
        product(cpu, Left::Rows(&low), &self.forward, 1.0, true, logits.data_mut());
        if let Some(panels) = &self.low {
            product(cpu, Left::Rows(&high), panels, 1.0, true, logits.data_mut());
        }
        logits
    }

    /// Returns the gradient of the hidden states. Adds the gradient of the embedding to `gradient`, unless it is
    /// frozen.
    pub fn logits_backward(&self, cpu: &Cpu, hidden: &Rows, dlogits: &Rows, gradient: &mut [f32]) -> Rows {
        let dhidden = product_rows(cpu, Left::Rows(&Bf16Rows::from_rows(cpu, dlogits)), &self.backward, 1.0);
        if !gradient.is_empty() {
            let left = Bf16Panels::of(cpu, dlogits.data(), dlogits.dim());
            let right = Bf16Panels::of(cpu, hidden.data(), hidden.dim());
            product(cpu, Left::Transposed(&left), &right, 1.0, true, gradient);
        }
        dhidden
    }
}

impl Linear {
    fn new(cpu: &Cpu, slot: &Slot, values: &[f32], precision: Precision) -> Result<Self> {
        let (rows, cols) = (slot.rows, slot.cols);
        if precision == Precision::Full {
            let values = rounded(values);
            let forward = Forward::Full(Bf16Panels::transposed(cpu, &values, rows, cols));
            return Ok(Self { forward, backward: Some(Bf16Panels::of(cpu, &values, cols)), scale: 1.0 });
        }
        let bytes: Vec<u8> = values.iter().flat_map(|x| f32_to_bf16(*x).to_le_bytes()).collect();
        let diverged = || Error::Diverged { what: format!("`{}` is no longer a finite number", slot.name) };
        let latents = Trits::new(&BF16, rows, cols, Bytes::from(bytes)).map_err(|_| diverged())?.quantized_at_load();
        let decoder = latents.decoder(cpu.pool()).map_err(|_| diverged())?;
        let Scales::One(scale) = *decoder.scales() else { return Err(diverged()) };
        let mut trits = vec![0i8; rows * cols];
        for (row, out) in trits.chunks_exact_mut(cols).enumerate() {
            decoder.row(row, out).map_err(|_| diverged())?;
        }
        let matrix = Matrix::pack(cpu.pool(), &T16, (rows, cols), &Scales::One(scale), |row, out| {
            out.copy_from_slice(&trits[row * cols..][..cols]);
            Ok::<_, Error>(())
        })?;
        let backward = Some(Bf16Panels::of_trits(cpu, rows, cols, &trits));
        Ok(Self { forward: Forward::Ternary(matrix), backward, scale })
    }

    /// A frozen layer; `None` if it has more than one scale.
    pub fn frozen(matrix: Matrix) -> Option<Self> {
        Some(Self { scale: matrix.scale()?, forward: Forward::Ternary(matrix), backward: None })
    }

    fn ternary(&self) -> &Matrix {
        match &self.forward {
            Forward::Ternary(matrix) => matrix,
            Forward::Full(_) => unreachable!("codes are multiplied by ternary layers"),
        }
    }

    /// Weights divided by the scale, `(rows, cols)`.
    fn backward(&self, cpu: &Cpu) -> Cow<'_, Bf16Panels> {
        match &self.backward {
            Some(panels) => Cow::Borrowed(panels),
            None => {
                let (rows, cols) = self.ternary().shape();
                let mut trits = vec![0i8; rows * cols];
                cpu.pool().pieces(&mut trits, cols, |row, out| out.copy_from_slice(&self.ternary().trits(row)));
                Cow::Owned(Bf16Panels::of_trits(cpu, rows, cols, &trits))
            }
        }
    }

    /// Adds the gradient of the input to `dx`, straight through the rounding. `dy` is the gradient of the output.
    pub fn input_gradient<'a>(&self, cpu: &Cpu, dy: &Bf16Rows, dx: &'a mut Option<Rows>) -> &'a mut Rows {
        let panels = self.backward(cpu);
        match dx {
            Some(dx) => {
                product(cpu, Left::Rows(dy), &panels, self.scale, true, dx.data_mut());
                dx
            }
            None => dx.insert(product_rows(cpu, Left::Rows(dy), &panels, self.scale)),
        }
    }
}

/// Replaces each value by its rounding error in bf16.
fn lose_high(cpu: &Cpu, values: &mut Rows) {
    let dim = values.dim();
    cpu.pool().pieces(values.data_mut(), dim, |_, row| row.iter_mut().for_each(|x| *x -= bf16(*x)));
}

impl Input {
    /// Normalised rows.
    pub fn normed(cpu: &Cpu, x: &Rows, weight: &[f32], eps: f32, precision: Precision) -> Self {
        match precision {
            Precision::Ternary => Self::Codes(Activations::normed(cpu, x, weight, eps)),
            Precision::Full => Self::Full(cpu.rms_norm(x, weight, eps)),
            Precision::Adapted => Self::both(cpu, cpu.rms_norm(x, weight, eps)),
        }
    }

    /// `relu(gate)² · up`, normalised.
    pub fn gated(cpu: &Cpu, gate: &Rows, up: &Rows, weight: &[f32], eps: f32, precision: Precision) -> Self {
        match precision {
            Precision::Ternary => Self::Codes(Activations::gated(cpu, gate, up, weight, eps)),
            Precision::Full => Self::Full(cpu.rms_norm(&cpu.relu2_product(gate, up), weight, eps)),
            Precision::Adapted => Self::both(cpu, cpu.rms_norm(&cpu.relu2_product(gate, up), weight, eps)),
        }
    }

    fn both(cpu: &Cpu, x: Rows) -> Self {
        Self::Both(Activations::quantize(cpu, &x), x)
    }
}

/// Products of several layers with one input: `(token, rows)` each.
///
/// # Panics
/// If the layers were not prepared for the precision of the input.
pub fn forward<const N: usize>(cpu: &Cpu, layers: [&Weight; N], input: &Input) -> [Rows; N] {
    match input {
        Input::Codes(codes) => {
            let matrices = layers.map(|layer| layer.linear().ternary());
            ternary::matmul(cpu, &matrices, codes).try_into().expect("one result per matrix")
        }
        Input::Both(codes, x) => {
            let matrices = layers.map(|layer| layer.linear().ternary());
            let mut outs = ternary::matmul(cpu, &matrices, codes);
            for (layer, out) in layers.iter().zip(&mut outs) {
                layer.update().add(cpu, x, out);
            }
            outs.try_into().expect("one result per matrix")
        }
        Input::Full(x) => {
            let left = Bf16Rows::from_rows(cpu, x);
            layers.map(|layer| {
                let Forward::Full(right) = &layer.linear().forward else {
                    unreachable!("rows are multiplied by full-precision layers")
                };
                product_rows(cpu, Left::Rows(&left), right, 1.0)
            })
        }
    }
}

/// Returns the gradient of the layers' common input before quantisation, straight through the rounding. Adds the
/// gradients of the weights to `gradients`.
///
/// # Panics
/// If there is no layer, or if the layers were not prepared for the precision of the input.
pub fn backward<const N: usize>(
    cpu: &Cpu,
    layers: [&Weight; N],
    input: &Input,
    dy: [&Rows; N],
    gradients: [&mut Vec<f32>; N],
) -> Rows {
    let (right, scales) = match input {
        // The layer's input was code / scale. The codes are exact in bf16, so the scale goes to the other operand.
        Input::Codes(codes) => {
            (Bf16Panels::of_codes(cpu, codes), codes.scales().iter().map(|scale| 1.0 / scale).collect())
        }
        Input::Full(x) => (Bf16Panels::of(cpu, x.data(), x.dim()), vec![1.0; x.len()]),
        Input::Both(_, x) => return adapted_backward(cpu, layers, x, dy, gradients),
    };
    let mut dx = None;
    for ((layer, dy), gradient) in layers.into_iter().zip(dy).zip(gradients) {
        layer.linear().input_gradient(cpu, &Bf16Rows::from_rows(cpu, dy), &mut dx);
        let left = Bf16Panels::scaled(cpu, dy.data(), dy.dim(), &scales);
        product(cpu, Left::Transposed(&left), &right, 1.0, true, gradient);
    }
    dx.expect("an input has a layer")
}

/// Returns the gradient of the common input of layers with updates. Adds the gradients of the updates to `gradients`.
fn adapted_backward<const N: usize>(
    cpu: &Cpu,
    layers: [&Weight; N],
    x: &Rows,
    dy: [&Rows; N],
    gradients: [&mut Vec<f32>; N],
) -> Rows {
    let panels = Bf16Panels::of(cpu, x.data(), x.dim());
    let mut sum = None;
    for ((layer, dy), gradient) in layers.into_iter().zip(dy).zip(gradients) {
        let rows = Bf16Rows::from_rows(cpu, dy);
        let dx = layer.linear().input_gradient(cpu, &rows, &mut sum);
        layer.update().backward(cpu, (x, &panels), (dy, &rows), gradient, dx);
    }
    sum.expect("an input has a layer")
}
