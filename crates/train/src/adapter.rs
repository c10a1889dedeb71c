//! Training of low-rank adapters: the ternary model, its embedding and its norms stay as they are.
//!
//! ```text
//! forward    y = scale · trits · int8(x)  +  s · B · (A · x)                        s = alpha / rank
//! backward   dx = scale · dy · trits + dt · A,   dt = s · dy · B,   dA = dtᵀ · x,   dB = s · dyᵀ · (A · x)
//! ```
//! Trits and a scale are all that is needed of the model, so it can be any checkpoint of the architecture, packed or not.

use sterna::checkpoint::adapter::LowRank as Pair;
use sterna::checkpoint::{Adapter, Checkpoint};
use sterna::kernels::bf16::{Bf16Panels, Bf16Rows, Left, product, product_rows};
use sterna::kernels::{Cpu, LowRank, Rows};

use crate::Result;
use crate::network::{Network, Parameter, Role, Slot};
use crate::random::Random;
use crate::recipe::{self, Recipe};
use crate::weights::{Embedding, Linear, Weight};

/// Tells the random numbers of adapters from others.
const ADAPTER: u64 = 0x6164_6170;

/// What an adapter adds to one layer.
pub struct Update {
    forward: LowRank,
    /// `(rank, cols)`
    a: Bf16Panels,
    /// `(rows, rank)`
    b: Bf16Panels,
    scale: f32,
}

/// The tensors of an adapter of that network.
pub fn slots(network: &Network<Slot>, rank: usize) -> Network<Slot> {
    network.map(|slot| {
        let role = if slot.role == Role::Linear { Role::LowRank(rank) } else { Role::Frozen };
        Slot { role, ..slot.clone() }
    })
}

/// An adapter that changes nothing yet: A random, so large that `A · x` has the size of `x`, and B zero.
pub fn random(slots: &Network<Slot>, seed: u64) -> Network<Parameter> {
    let mut random = Random::new(&[seed, ADAPTER]);
    slots.map(|slot| {
        let mut values = vec![0.0; slot.len()];
        if let Role::LowRank(rank) = slot.role {
            let deviation = 1.0 / (slot.cols as f32).sqrt();
            values[..rank * slot.cols].fill_with(|| random.normal() * deviation);
        }
        Parameter { slot: slot.clone(), values }
    })
}

/// The model that an adapter is trained on.
pub fn base(cpu: &Cpu, checkpoint: &Checkpoint, network: &Network<Slot>) -> Result<Network<Weight>> {
    network.try_map(|Slot { name, role, rows, cols }| {
        Ok(match role {
            Role::Norm => Weight::Norm(checkpoint.vector(name, *cols)?),
            Role::Embedding => Weight::Embedding(Embedding::frozen(cpu, checkpoint.dense(name, *rows, *cols)?).into()),
            _ => Weight::Linear(Linear::frozen(checkpoint.ternary(cpu, name, *rows, *cols)?).into(), None),
        })
    })
}

/// What a step needs: the base with its updates as they are now.
pub fn prepare(cpu: &Cpu, base: &Network<Weight>, adapter: &Network<Parameter>, scale: f32) -> Network<Weight> {
    let mut parameters = adapter.all().into_iter();
    base.map(|weight| {
        let parameter = parameters.next().expect("a parameter for every tensor");
        match weight {
            Weight::Norm(weights) => Weight::Norm(weights.clone()),
            Weight::Embedding(embedding) => Weight::Embedding(embedding.clone()),
            Weight::Linear(linear, _) => Weight::Linear(linear.clone(), Some(Update::new(cpu, parameter, scale))),
        }
    })
}

/// The result as others read it.
pub fn result(recipe: &Recipe, shape: recipe::Adapter, parameters: &Network<Parameter>) -> Adapter {
    let pairs = parameters.all().into_iter().filter_map(|parameter| {
        let (a, b) = halves(parameter)?;
        let layer = parameter.slot.name.strip_suffix(".weight")?;
        Some((layer.to_string(), Pair { a: a.to_vec(), b: b.to_vec() }))
    });
    let base = recipe.from.as_ref().map(|path| path.display().to_string());
    Adapter { base, rank: shape.rank, alpha: shape.alpha, layers: pairs.collect(), ..Adapter::default() }
}

/// A and B of a low-rank update.
fn halves(parameter: &Parameter) -> Option<(&[f32], &[f32])> {
    match parameter.slot.role {
        Role::LowRank(rank) => Some(parameter.values.split_at(rank * parameter.slot.cols)),
        _ => None,
    }
}

impl Update {
    fn new(cpu: &Cpu, parameter: &Parameter, scale: f32) -> Self {
        let (Role::LowRank(rank), Some((a, b))) = (parameter.slot.role, halves(parameter)) else {
            unreachable!("a linear layer has an update")
        };
        let forward = LowRank::new(rank, a, b, scale).expect("rows of the rank");
        let (a, b) = (Bf16Panels::of(cpu, a, parameter.slot.cols), Bf16Panels::of(cpu, b, rank));
        Self { forward, a, b, scale }
    }

    /// Adds to `out` what comes of `x`, as the engine does.
    pub fn add(&self, cpu: &Cpu, x: &Rows, out: &mut Rows) {
        self.forward.add(cpu, x, out);
    }

    /// Adds the gradients of A and B to `gradient`, and that of the input to `dx`.
    fn backward(
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

/// The gradient of the common input of layers with updates, whose gradients are added to `gradients`.
pub(crate) fn backward<const N: usize>(
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
