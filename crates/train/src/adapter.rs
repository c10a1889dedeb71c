//! Training of low-rank adapters. The ternary model, its embedding and its norms are frozen.
//!
//! ```text
//! forward    y = scale · trits · int8(x)  +  s · B · (A · x)                        s = alpha / rank
//! backward   dx = scale · dy · trits + dt · A,   dt = s · dy · B,   dA = dtᵀ · x,   dB = s · dyᵀ · (A · x)
//! ```
//! The base model only has to have trits and a scale, so it can be any checkpoint of the architecture, packed or not.

use sterna::checkpoint::adapter::LowRank as Pair;
use sterna::checkpoint::{Adapter, Checkpoint};
use sterna::kernels::Cpu;
use sterna::kernels::layout::T16;

use crate::network::{Network, Parameter, Role, Slot};
use crate::random::Random;
use crate::recipe::{self, Recipe};
use crate::update::{Update, halves};
use crate::weights::{Embedding, Linear, Weight};
use crate::{Error, Result};

/// Separates the random numbers of adapters from other streams of the same seed.
const ADAPTER: u64 = 0x6164_6170;

/// Names and shapes of the tensors of an adapter for a network.
pub fn slots(network: &Network<Slot>, rank: usize) -> Network<Slot> {
    network.map(|slot| {
        let role = if slot.role == Role::Linear { Role::LowRank(rank) } else { Role::Frozen };
        Slot { role, ..slot.clone() }
    })
}

/// A new adapter, which does not change the model yet. A is random, scaled so that `A · x` has the size of `x`. B is
/// zero.
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

/// Loads the frozen base model.
///
/// # Errors
/// [`Error::Sterna`] if the checkpoint lacks a tensor, or has it in another shape.
pub fn base(cpu: &Cpu, checkpoint: &Checkpoint, network: &Network<Slot>) -> Result<Network<Weight>> {
    network.try_map(|Slot { name, role, rows, cols }| {
        Ok(match role {
            Role::Norm => Weight::Norm(checkpoint.vector(name, *cols)?),
            Role::Embedding => Weight::Embedding(Embedding::frozen(cpu, checkpoint.dense(name, *rows, *cols)?).into()),
            _ => {
                let matrix = checkpoint.ternary(cpu, name, (*rows, *cols), &T16)?;
                let several = || Error::SeveralScales { path: checkpoint.path().to_owned(), name: name.clone() };
                Weight::Linear(Linear::frozen(matrix).ok_or_else(several)?.into(), None)
            }
        })
    })
}

/// The weights of one step: the base with the current updates.
///
/// # Panics
/// If the adapter is of another network than the base.
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

/// The adapter in the form that is saved.
pub fn result(recipe: &Recipe, shape: recipe::Adapter, parameters: &Network<Parameter>) -> Adapter {
    let pairs = parameters.all().into_iter().filter_map(|parameter| {
        let (a, b) = halves(parameter)?;
        let layer = parameter.slot.name.strip_suffix(".weight")?;
        Some((layer.to_string(), Pair { a: a.to_vec(), b: b.to_vec() }))
    });
    let base = recipe.from.as_ref().map(|path| path.display().to_string());
    Adapter { base, rank: shape.rank, alpha: shape.alpha, layers: pairs.collect(), ..Adapter::default() }
}
